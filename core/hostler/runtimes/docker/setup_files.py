"""Chooses the files that a `setup` beside an image gets, and packs them with it. Blocks.

What is not packed cannot be seen by the setup: so these files and the text are all that decides
what it makes.
"""

from __future__ import annotations

import io
import posixpath
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hostler.base.errors import InputError
from hostler.base.text import shown
from hostler.base.units import MIB
from hostler.runtimes.docker.context import Piece
from hostler_agent.setupkey import EDITABLE, FOLDERS, NAMES, PROJECTS, WITHOUT_PROJECT, words
from hostler_agent.venv import INCLUDES, MOST_FILES, argument_of, lines_of

_REQUIREMENTS = (".txt", ".in")
_TOO_LARGE = 256 * MIB
_LONGEST_TEXT = 4 * MIB
FILES, SCRIPT, TEXT = "files", "hostler-script", "hostler-setup"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a stage asks for."""

    text: str
    names: tuple[str, ...] | None
    """Of `setup_files`; None: the usual ones, and those that the text names."""
    cwd: str
    """Where the text begins, relative to the source."""


def chosen(asked: Asked, pieces: Mapping[str, Piece]) -> list[Piece]:
    """The files, sorted. Raises InputError for what no image can have."""
    if EDITABLE.search(asked.text.replace("\\\n", " ")):
        raise InputError(
            "setup installs the working folder itself (pip install -e), which no image can have",
            remedy="write `pip install .`, or put that line into the command",
        )
    if _takes_all(asked):
        found = [name for name, each in pieces.items() if each.entry.kind != "folder"]
    else:
        found = list(_with_included(_wanted(asked, pieces), pieces))
    size = sum(pieces[name].entry.size for name in found)
    if size > _TOO_LARGE:
        raise InputError(
            f"the files of setup have {size // MIB} MiB", remedy="name those it needs: setup_files"
        )
    return [pieces[name] for name in sorted(found)]


def _takes_all(asked: Asked) -> bool:
    if PROJECTS.search(asked.text) and not WITHOUT_PROJECT.search(asked.text):
        return True
    return any(word.split("[")[0] in (".", "./") for word in words(asked.text))


def _wanted(asked: Asked, pieces: Mapping[str, Piece]) -> Iterator[str]:
    if asked.names is not None:
        yield from _named(asked.names, pieces)
        return
    for top in {"", asked.cwd}:
        for name in pieces:
            inside = posixpath.relpath(name, top or ".")
            if posixpath.dirname(inside) in FOLDERS and NAMES.fullmatch(inside):
                yield name
    for word in words(asked.text):
        path = posixpath.normpath(posixpath.join(asked.cwd, word.split("=")[-1]))
        if word and not word.startswith(("/", "$", "~")) and _is_file(pieces, path):
            yield path


def _named(names: tuple[str, ...], pieces: Mapping[str, Piece]) -> Iterator[str]:
    for name in map(posixpath.normpath, names):
        below = [path for path in pieces if path.startswith(f"{name}/")]
        if name not in pieces:
            raise InputError(
                f"the source has no file {shown(name)}, which setup_files names",
                remedy='files are sent with code = "snapshot" alone, without what git ignores',
            )
        yield from (path for path in (name, *below) if _is_file(pieces, path))


def _with_included(wanted: Iterator[str], pieces: Mapping[str, Piece]) -> Iterator[str]:
    """And what requirement files include by -r and -c."""
    waiting, seen = [*wanted], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or not _is_file(pieces, name):
            continue
        seen.add(name)
        if len(seen) > MOST_FILES:
            raise InputError(
                f"more than {MOST_FILES} files belong to setup", remedy="name them in setup_files"
            )
        yield name
        if name.endswith(_REQUIREMENTS) and pieces[name].entry.size <= _LONGEST_TEXT:
            text = pieces[name].read(_LONGEST_TEXT).decode("utf-8", "replace")
            found = (argument_of(line, INCLUDES) for line in lines_of(text))
            folder = posixpath.dirname(name)
            waiting += [posixpath.normpath(posixpath.join(folder, each)) for each in found if each]


def _is_file(pieces: Mapping[str, Piece], name: str) -> bool:
    return name in pieces and pieces[name].entry.kind == "file"


def packed(asked: Asked, dockerfile: str, script: str, pieces: list[Piece]) -> bytes:
    """The context of the build, as a tar: equal for equal files."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, text in (("Dockerfile", dockerfile), (SCRIPT, script), (TEXT, asked.text)):
            _add(tar, name, f"{text}\n".encode())
        folder = tarfile.TarInfo(posixpath.join(FILES, asked.cwd))
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        for piece in pieces:
            entry, name = piece.entry, posixpath.join(FILES, piece.name)
            if entry.kind == "link":
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, entry.target
                tar.addfile(link)
            else:
                _add(tar, name, piece.read(entry.size) if entry.size else b"", entry.mode)
    return made.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SETTINGS = ("PIP_", "UV_")
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


def settings_of(env: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Of variables those that say where packages come from: settings of pip and uv, which count,
    and proxies, which do not."""
    names = [name for name in sorted(env) if _NAME.fullmatch(name)]
    settings = {name: env[name] for name in names if name.startswith(_SETTINGS)}
    proxies = {name: env[name] for name in names if name.lower() in _PROXIES}
    return settings, proxies
