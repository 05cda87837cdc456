"""Which files that a command names do not go along, and what would send them."""

from __future__ import annotations

import functools
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from hostler.base.units import MIB
from hostler.packing.git_run import git_in
from hostler.packing.inside import Inside
from hostler.packing.secrets import is_secret
from hostler.packing.tree import GIT, IGNORE_FILE, Tree

_BETWEEN = re.compile(r"[\s'\"=;|&<>(),]+")
_LONGEST = 4096
_MOST_WORDS = 5000
_MOST_LOOKED_AT = 20_000
"""Entries of one folder: what is beyond is not counted."""
_PROPOSED = 64 * MIB
"""A folder that holds more is not proposed for one file of it."""
_SECRET = "looks like a secret"  # noqa: S105  # a reason for people
_CACHES = ("__pycache__", "node_modules")
Unsent = Callable[[str], int]
"""Bytes below a folder that do not go along."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A path that a command names and that does not go along."""

    path: str
    """A folder ends in a slash."""
    size: int
    reason: str
    include: str
    """What sends it, given to --include."""


def left_out(inside: Inside, tree: Tree, words: Sequence[str]) -> tuple[LeftOut, ...]:
    """The files and folders that the words of commands name and that are not sent."""
    sent = {entry.path for entry in tree.entries}
    paths = dict.fromkeys(_paths(os.fspath(inside.root), words))
    missing = [path for path in paths if path not in sent]
    found = {path: kind for path in missing if (kind := _kind(inside, path)) is not None}
    ignored = _ignored_by_git(inside, tree, found)
    # Thousands of cells may name as many files of one folder.
    unsent = functools.cache(lambda folder: _unsent(inside, folder, sent))
    return tuple(
        told
        for path, kind in found.items()
        if (told := _told(inside, tree, unsent, ignored, path, is_folder=kind)) is not None
    )


def _paths(root: str, words: Iterable[str]) -> Iterator[str]:
    """Paths in the folder that the words may mean, relative to it."""
    for word in list(words)[:_MOST_WORDS]:
        for part in dict.fromkeys((word, *_BETWEEN.split(word[: 16 * _LONGEST]))):
            if not part or len(part) > _LONGEST or "\0" in part:
                continue
            path = posixpath.normpath(posixpath.join(root, part))
            if path.startswith(f"{root}/"):
                yield path.removeprefix(f"{root}/")


def _kind(inside: Inside, path: str) -> bool | None:
    """Whether it is a folder; None: it is neither a file nor a folder, or a link leads to it."""
    try:
        mode = inside.lstat(path).st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISDIR(mode):
        return True
    return False if stat.S_ISREG(mode) else None


def _ignored_by_git(inside: Inside, tree: Tree, paths: Iterable[str]) -> set[str]:
    """Those of the paths, and of the folders above them, that git ignores."""
    if tree.seen is None:
        return set()
    asked = {part for path in paths for part in (*_above(path), path)}
    if not asked:
        return set()
    data = b"\0".join(os.fsencode(path) for path in sorted(asked))
    answer = git_in(inside.root).run("check-ignore", "-z", "--stdin", data=data)
    return {os.fsdecode(raw) for raw in answer.stdout.split(b"\0") if raw}


def _above(path: str) -> list[str]:
    """The folders above a path, the topmost first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _told(
    inside: Inside, tree: Tree, unsent: Unsent, ignored: set[str], path: str, *, is_folder: bool
) -> LeftOut | None:
    if GIT in path.split("/"):
        return None
    if is_folder:
        return _told_folder(tree, unsent, ignored, path)
    size = inside.lstat(path).st_size
    if is_secret(path):
        return LeftOut(path, size, _SECRET, path)
    reason = _reason(tree, ignored, path)
    if reason is None:
        return None
    return LeftOut(path, size, reason, _proposed(tree, unsent, ignored, path))


def _reason(tree: Tree, ignored: set[str], path: str) -> str | None:
    """Why a path does not go along; None: by no rule that can be named."""
    if tree.ignore.leaves_out(path):
        return f"named by {IGNORE_FILE}"
    if not ignored.isdisjoint((*_above(path), path)):
        return "ignored by git"
    return None


def _told_folder(tree: Tree, unsent: Unsent, ignored: set[str], path: str) -> LeftOut | None:
    size = unsent(path)
    if not size:
        return None
    whole = tree.ignore.leaves_out(path, is_folder=True)
    reason = f"named by {IGNORE_FILE}" if whole else _reason(tree, ignored, path)
    if reason is None and tree.seen is None:
        return None
    return LeftOut(f"{path}/", size, reason or "ignored by git", f"{path}/")


def _proposed(tree: Tree, unsent: Unsent, ignored: set[str], path: str) -> str:
    """The folder that is left out as a whole, if it is not large; else the path itself."""
    for folder in _above(path):
        if folder in ignored or tree.ignore.leaves_out(folder, is_folder=True):
            return f"{folder}/" if unsent(folder) <= _PROPOSED else path
    return path


def _unsent(inside: Inside, folder: str, sent: set[str]) -> int:
    """Bytes below a folder that do not go along: without secrets, caches and hidden folders."""
    total = 0
    for path in _files_below(inside, folder, lambda name: name.startswith(".") or name in _CACHES):
        if path not in sent and not is_secret(path):
            total += _size(inside, path)
    return total


def _size(inside: Inside, path: str) -> int:
    try:
        found = inside.lstat(path)
    except OSError:  # it went away
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _files_below(inside: Inside, folder: str, leaves: Callable[[str], bool]) -> Iterator[str]:
    looked_at = 0
    top = os.path.join(inside.root, folder)  # noqa: PTH118
    for place, folders, files in os.walk(top):
        base = os.path.relpath(place, inside.root)
        folders[:] = sorted(name for name in folders if not leaves(name))
        looked_at += len(folders) + len(files)
        yield from (f"{base}/{name}" for name in files)
        if looked_at > _MOST_LOOKED_AT:
            return
