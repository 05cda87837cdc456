"""The context of a build: the files that Docker gets (.dockerignore, the Dockerfile), as one tar
stream.

All functions block, because they read archives of the content store.

Owners and times are left out, so that equal files give equal layers, wherever they come from.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostler.base.errors import InputError
from hostler.base.text import shown
from hostler.packing.dockerignore import FILE, MOST_BYTES, DockerIgnore, lineage
from hostler.runtimes.command import relative
from hostler.store.archive_scan import ArchiveCaps, Entry, scan
from hostler.store.faults import disk_faults
from hostler_agent.tarcheck import RangeReader

DOCKERFILE = "Dockerfile"
_CHUNK = 256 * 1024
_KINDS = {"folder": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "file": tarfile.REGTYPE}


@dataclass(frozen=True, slots=True)
class Piece:
    """A file, folder or link of the context."""

    name: str
    entry: Entry
    archive: Path
    offset: int

    def read(self, most: int, at: int = 0) -> bytes:
        """At most `most` bytes of its content, from offset `at` on; empty at the end."""
        left = max(0, self.entry.size - at)
        with disk_faults(self.archive), self.archive.open("rb") as raw:
            return RangeReader(raw, self.offset + at, left).read(most)


@dataclass(frozen=True, slots=True)
class BuildContext:
    """The files to send, and which of them is the Dockerfile."""

    pieces: tuple[Piece, ...]
    dockerfile: str
    text: str
    """Text of the Dockerfile."""
    unseen: frozenset[str] = frozenset()
    """Names of files that only the builder reads, because `.dockerignore` excludes them."""

    @property
    def seen(self) -> tuple[Piece, ...]:
        """The files that the Dockerfile can copy."""
        return tuple(piece for piece in self.pieces if piece.name not in self.unseen)

    @property
    def for_builder(self) -> tuple[Piece, ...]:
        """The Dockerfile alone, in its folders."""
        wanted = set(lineage(self.dockerfile))
        return tuple(piece for piece in self.pieces if piece.name in wanted)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(piece.entry.size for piece in self.pieces)


def context_of(
    archives: Iterable[tuple[str, Path]], folder: str, dockerfile: str | None
) -> BuildContext:
    """The pieces of a folder of the archives, each unpacked at its target, without those that
    `.dockerignore` excludes. A `NAME.dockerignore` beside the Dockerfile NAME replaces
    `.dockerignore`, which is then not sent, because the classic builder would use it too.

    The Dockerfile and `.dockerignore` are always sent, as by Docker's own tools; if excluded, they
    are not in the image. Raises InputError if there is no Dockerfile.
    """
    below = pieces_of(archives, relative(folder))
    name = relative(dockerfile or DOCKERFILE)
    found = _dockerfile(below, name, folder)
    own = below.get(f"{name}{FILE}")
    if own is not None and own.entry.kind == "file":
        below.pop(FILE, None)
    else:
        own = below.get(FILE)
    ignored = DockerIgnore(_lines(own))
    seen = _with_folders(path for path in below if not ignored.leaves_out(path))
    sent = seen | _with_folders(path for path in (name, FILE) if path in below)
    pieces = tuple(below[path] for path in sorted(sent) if path in below)
    text = found.read(MOST_BYTES).decode("utf-8", "replace")
    return BuildContext(pieces, name, text, frozenset(sent - seen))


def dockerfile_of(archives: Iterable[tuple[str, Path]], folder: str, dockerfile: str | None) -> str:
    """The text of the Dockerfile. Faster than `context_of`, which compares each path with
    `.dockerignore`; raises the same errors."""
    below = pieces_of(archives, relative(folder))
    found = _dockerfile(below, relative(dockerfile or DOCKERFILE), folder)
    return found.read(MOST_BYTES).decode("utf-8", "replace")


def _dockerfile(below: Mapping[str, Piece], name: str, folder: str) -> Piece:
    found = below.get(name)
    if found is None or found.entry.kind != "file":
        raise _without_dockerfile(name, folder, below)
    if found.entry.size > MOST_BYTES:
        # Only this many bytes are checked for `# syntax=`, but the builder would read all.
        raise InputError(f"{shown(name)} is over 1 MiB", remedy="put long texts into files")
    return found


def _with_folders(paths: Iterable[str]) -> set[str]:
    found = set(paths)
    return found | {above for path in found for above in lineage(path)}


def tar_of(pieces: Sequence[Piece]) -> Iterator[bytes]:
    """The pieces as a tar. Raises InputError, StateError if an archive cannot be read."""
    for piece in pieces:
        entry = tarfile.TarInfo(piece.name)
        entry.type, entry.mode = _KINDS[piece.entry.kind], piece.entry.mode
        entry.size, entry.linkname = piece.entry.size, piece.entry.target
        yield entry.tobuf(tarfile.PAX_FORMAT)
        if entry.size:
            yield from _contents(piece)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _contents(piece: Piece) -> Iterator[bytes]:
    with disk_faults(piece.archive), piece.archive.open("rb") as raw:
        content = RangeReader(raw, piece.offset, piece.entry.size)
        while data := content.read(_CHUNK):
            yield data
    yield bytes(-piece.entry.size % tarfile.BLOCKSIZE)


def pieces_of(archives: Iterable[tuple[str, Path]], folder: str = "") -> dict[str, Piece]:
    """The pieces in a folder of archives, each unpacked at its target, by name."""
    found: dict[str, Piece] = {}
    for target, path in archives:
        with disk_faults(path), path.open("rb") as raw:
            members = scan(raw, ArchiveCaps(), "", contents=False)
        for member in members:
            name = posixpath.join(relative(target), member.entry.path)
            if folder and not name.startswith(f"{folder}/"):
                continue
            inner = name[len(folder) + 1 :] if folder else name
            found[inner] = Piece(inner, member.entry, path, member.offset)
    for name in tuple(found):
        _put_into_folders(found, name)
    return found


def _put_into_folders(found: dict[str, Piece], name: str) -> None:
    """Add the folders above the targets, which no archive contains; they replace files of the same
    name."""
    for above in lineage(posixpath.dirname(name)):
        known = found.get(above)
        if known is None or known.entry.kind != "folder":
            found[above] = Piece(above, Entry(above, "folder", 0o755), found[name].archive, 0)


def _lines(piece: Piece | None) -> list[str]:
    if piece is None or piece.entry.kind != "file":
        return []
    if piece.entry.size > MOST_BYTES:
        raise InputError(f"{FILE} is over 1 MiB", remedy="name folders instead of single files")
    return piece.read(MOST_BYTES).decode("utf-8-sig", "replace").splitlines()


def _without_dockerfile(name: str, folder: str, below: Iterable[str]) -> InputError:
    where = relative(folder)
    path = posixpath.join(where, name)
    others = [p for p in below if posixpath.basename(p).startswith(DOCKERFILE)]
    if others:
        return InputError(
            f"the source has no file {shown(path)}",
            remedy=f"set dockerfile = {shown(sorted(others)[0])}, which is relative to `context`",
        )
    there = f"the folder {shown(where)} of the source" if where else "the source"
    return InputError(
        f"{there} has no {name}",
        remedy="write one there; files that git or .hostlerignore ignores are not sent",
    )
