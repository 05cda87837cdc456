"""Which files of a working folder are omitted from copies: caches, .git, environments, core files,
inputs; how globs match and what `*` never means."""

from __future__ import annotations

import os
import re
from typing import Iterable, List, Optional, Sequence, Tuple

CACHES, ENVIRONMENTS, REPOSITORY = "caches", "environments", ".git"
CORES, SPECIAL, INPUTS = "core files", "special files", "inputs"
OWN = "Hostler's own files"
ELSEWHERE = "other file systems"
UNREADABLE = "what cannot be read"
TOO_DEEP = "folders that are too deep"
_ANYWHERE = {
    b".cache": CACHES, b"__pycache__": CACHES, b".git": REPOSITORY, b"node_modules": ENVIRONMENTS,
}  # fmt: skip
_AT_THE_TOP = {b".hostler": OWN, b"inputs": INPUTS}
_MARKS = (b"pyvenv.cfg", b"conda-meta")
_CORE = re.compile(rb"core(\.\d+)?")


def folder_left_out(name: bytes, top: bool) -> Optional[str]:
    """Why a folder of that name is left out; None if it is not left out."""
    return (_AT_THE_TOP.get(name) if top else None) or _ANYWHERE.get(name)


def is_environment(folder: int) -> bool:
    """Whether an open folder is a virtual environment, or one of conda's."""
    for mark in _MARKS:
        try:
            os.close(os.open(mark, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder))
            return True
        except OSError:
            continue
    return False


def may_be_core(name: bytes) -> bool:
    """Whether a file of that name is a core dump, if it is ELF."""
    return _CORE.fullmatch(name) is not None


def is_below(path: bytes, folders: Iterable[bytes]) -> bool:
    """Whether a path is one of the folders, or in one."""
    return any(path == each or path.startswith(each + b"/") for each in folders)


class Globs:
    """Names of files and folders, each with `*`, `?`, `[...]` in a part and `**` for any parts."""

    def __init__(self, globs: Sequence[str]) -> None:
        self._globs = [_parts(glob) for glob in globs]

    def matches(self, path: bytes) -> bool:
        """Whether a glob matches the path or a folder above it, and no part below that folder is
        left out."""
        parts = path.split(b"/")
        return any(self._named(glob, parts) for glob in self._meant(parts))

    def may_match_below(self, path: bytes) -> bool:
        """Whether anything in a folder may match."""
        parts = path.split(b"/")
        globs = self._meant(parts)
        return any(_may_go_on(glob, parts) or self._named(glob, parts) for glob in globs)

    def _meant(self, parts: List[bytes]) -> List[List[bytes]]:
        """Globs that may match a path: a wildcard does not match Hostler's own folders."""
        if parts[0] in _AT_THE_TOP:
            return [glob for glob in self._globs if glob[0] == parts[0]]
        return self._globs

    def _named(self, glob: List[bytes], parts: List[bytes]) -> bool:
        for end in range(len(parts), 0, -1):
            if _fits(glob, parts[:end]):
                # Below a named folder, the usual folders are still left out.
                return not any(folder_left_out(part, False) for part in parts[end:])
        return False


def _parts(glob: str) -> List[bytes]:
    clean = os.path.normpath(glob).encode("utf-8", "surrogateescape")
    return [b"**"] if clean == b"." else clean.split(b"/")


def _fits(glob: Sequence[bytes], parts: Sequence[bytes]) -> bool:
    """Whether a glob matches a whole path. By rows, so that no glob takes long."""
    reached = {0}
    for at in range(len(parts) + 1):
        reached = _over_stars(glob, reached)
        if at == len(parts):
            return len(glob) in reached
        reached = _after(glob, reached, parts[at])
    return False


def _may_go_on(glob: Sequence[bytes], parts: Sequence[bytes]) -> bool:
    reached = {0}
    for part in parts:
        reached = _after(glob, _over_stars(glob, reached), part)
    return bool(reached - {len(glob)})


def _over_stars(glob: Sequence[bytes], reached: Iterable[int]) -> "set[int]":
    found = set(reached)
    for at in sorted(found):
        while at < len(glob) and glob[at] == b"**":
            at += 1
            found.add(at)
    return found


def _after(glob: Sequence[bytes], reached: Iterable[int], part: bytes) -> "set[int]":
    found = set()
    for at in reached:
        if at < len(glob) and glob[at] == b"**":
            if not _is_shy(part):
                found.add(at)
        elif at < len(glob) and _part_fits(glob[at], part):
            found.add(at + 1)
    return found


def _is_shy(part: bytes) -> bool:
    """Whether wildcards ignore the name: it is hidden, or usually left out."""
    return part.startswith(b".") or folder_left_out(part, False) is not None


def _part_fits(glob: bytes, part: bytes) -> bool:
    """Whether a glob matches a name; the time grows only with the length of both."""
    if glob == part:
        return True
    tokens = _tokens(glob)
    if _is_shy(part) and not (glob.startswith(b".") and part.startswith(b".")):
        return False
    return _tokens_fit(tokens, part)


def _tokens_fit(tokens: Sequence["Token"], part: bytes) -> bool:
    at, star, back = 0, -1, 0
    name = 0
    while name < len(part):
        if at < len(tokens) and tokens[at][0] == "any":
            star, back = at, name
            at += 1
        elif at < len(tokens) and _one_fits(tokens[at], part[name]):
            at, name = at + 1, name + 1
        elif star >= 0:
            back += 1
            at, name = star + 1, back
        else:
            return False
    return all(kind == "any" for kind, _ in tokens[at:])


Token = Tuple[str, bytes]


def _one_fits(token: Token, byte: int) -> bool:
    kind, chars = token
    if kind == "in":
        return byte in chars
    if kind == "not":
        return byte not in chars
    return kind == "single" or (kind == "one" and chars[0] == byte)


def _tokens(glob: bytes) -> List[Token]:
    found: List[Token] = []
    at = 0
    while at < len(glob):
        char = glob[at : at + 1]
        end = glob.find(b"]", at + 2) if char == b"[" else -1
        if char == b"*":
            found.append(("any", b""))
        elif char == b"?":
            found.append(("single", b""))
        elif end > 0:
            found.append(_group(glob[at + 1 : end]))
            at = end
        else:
            found.append(("one", char))
        at += 1
    return found


def _group(inner: bytes) -> Token:
    kind = "not" if inner[:1] in (b"!", b"^") else "in"
    inner = inner[1:] if kind == "not" else inner
    chars = bytearray()
    at = 0
    while at < len(inner):
        if inner[at + 1 : at + 2] == b"-" and at + 2 < len(inner):
            chars += bytes(range(inner[at], inner[at + 2] + 1))
            at += 3
        else:
            chars.append(inner[at])
            at += 1
    return kind, bytes(chars)
