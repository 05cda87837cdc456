"""Chooses the files that a `setup` beside an image gets, and packs them with it: at most 256 MiB,
no `pip install -e`, settings of pip and uv. Blocks.

The setup sees only the packed files. So its result depends only on them and on its text.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from hostler.base.errors import InputError
from hostler.base.text import shown
from hostler.base.units import MIB
from hostler.packing.dockerignore import lineage
from hostler.runtimes.docker.context import Piece
from hostler_agent.setupkey import (
    FOLDERS,
    NAMES,
    PROJECTS,
    WITHOUT_PROJECT,
    installs_folder,
    words,
)
from hostler_agent.venv import INCLUDES, MOST_FILES, argument_of, lines_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_REQUIREMENTS = (".txt", ".in")
_TOO_LARGE = 256 * MIB
_LONGEST_TEXT = 4 * MIB
_CHUNK = MIB
FILES, SCRIPT, TEXT = "files", "hostler-script", "hostler-setup"


@dataclass(frozen=True, slots=True)
class Asked:
    """The setup that a stage requests."""

    text: str
    names: tuple[str, ...] | None
    """Names in `setup_files`; None: the usual files, and the files that the text names."""
    cwd: str
    """The folder in which the text starts to run, relative to the source."""


def chosen(asked: Asked, pieces: Mapping[str, Piece]) -> list[Piece]:
    """The files, sorted. Raises InputError for files that cannot be in an image."""
    if installs_folder(asked.text):
        raise InputError(
            "setup installs the working folder itself (pip install -e), which no image can have",
            remedy="write `pip install .`, or put that line into the command",
        )
    if asked.names is None and _takes_all(asked):
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
    wanted = {*map(posixpath.normpath, names)}
    for name in sorted(wanted - pieces.keys()):
        raise InputError(
            f"the source has no file {shown(name)}, which setup_files names",
            remedy='files are sent with code = "snapshot" alone, without what git ignores',
        )
    for path in pieces:
        if _is_file(pieces, path) and not wanted.isdisjoint(lineage(path)):
            yield path


def _with_included(wanted: Iterator[str], pieces: Mapping[str, Piece]) -> Iterator[str]:
    """The files, and those that requirement files include by -r and -c."""
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


class Packing:
    """Writes the build's context as a tar into a file; equal files give equal bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def add(self, asked: Asked, script: str, pieces: Iterable[Piece]) -> str:
        """Add everything except the Dockerfile; returns the digest of the tar so far."""
        self._add_text(SCRIPT, script)
        self._add_text(TEXT, asked.text)
        folder = tarfile.TarInfo(posixpath.join(FILES, asked.cwd))
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        self._tar.addfile(folder)
        for piece in pieces:
            self._add_piece(piece)
        self._file.flush()
        self._file.seek(0)
        digest = hashlib.sha256()
        while block := self._file.read(_CHUNK):
            digest.update(block)
        return digest.hexdigest()

    def close(self, dockerfile: str) -> None:
        """Add the Dockerfile and end the tar."""
        self._add_text("Dockerfile", dockerfile)
        self._tar.close()
        self._file.flush()

    def _add_text(self, name: str, text: str) -> None:
        data = f"{text}\n".encode()
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        self._tar.addfile(entry, io.BytesIO(data))

    def _add_piece(self, piece: Piece) -> None:
        entry = tarfile.TarInfo(posixpath.join(FILES, piece.name))
        if piece.entry.kind == "link":
            entry.type, entry.linkname = tarfile.SYMTYPE, piece.entry.target
            self._tar.addfile(entry)
        else:
            entry.size, entry.mode = piece.entry.size, piece.entry.mode
            self._tar.addfile(entry, io.BufferedReader(_Content(piece), _CHUNK))


class _Content(io.RawIOBase):
    """The content of one file of an archive."""

    def __init__(self, piece: Piece) -> None:
        self._piece, self._at = piece, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        data = self._piece.read(len(view), self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SETTINGS = ("PIP_", "UV_")
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


def settings_of(env: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The variables that choose the source of packages: settings of pip and uv, which are part of
    the image's name, and proxies, which are not."""
    names = [name for name in sorted(env) if _NAME.fullmatch(name)]
    settings = {name: env[name] for name in names if name.startswith(_SETTINGS)}
    proxies = {name: env[name] for name in names if name.lower() in _PROXIES}
    return settings, proxies
