"""Reading the list of members of an untrusted tar file, with every check that is made on them."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hostler.base.errors import InputError
from hostler.base.text import clean_line
from hostler.base.units import GIB, KIB, MIB, format_size
from hostler.model.files import DEEPEST, LONGEST_NAME, LONGEST_PATH
from hostler.packing.tar import link_stays_inside
from hostler.store.archive_headers import HeaderReader
from hostler.store.faults import disk_faults

_CHUNK = 256 * KIB


@dataclass(frozen=True, slots=True)
class ArchiveCaps:
    """Limits of an archive; over one it is refused."""

    entries: int = 200_000
    size: int = 64 * GIB
    """Bytes of all content together, each hard link counted as a copy."""
    ratio: float = 20.0
    """Content may be this many times the size of the archive (hard links repeat content)."""
    refuses_links_out: bool = True
    """Refuse an archive for a link that leads out of it. False: leave such links out."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A member, as it will be written."""

    path: str
    kind: str
    """"file", "folder" or "link"."""
    mode: int
    size: int = 0
    sha256: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in an archive."""

    digest: str
    """Of paths, kinds, modes and contents: equal content is equal across hosts."""
    entries: tuple[Entry, ...]
    """Sorted by path; folders that were only implied are there too."""
    size: int
    """Bytes of content."""

    @property
    def files(self) -> int:
        """Files and links."""
        return sum(entry.kind != "folder" for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Member:
    """An entry and where its content lies in the archive."""

    entry: Entry
    offset: int = 0
    implied: bool = False
    """A folder that something was put into before it was named, if it was at all."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What an archive makes, by name alone: no content was read."""

    kinds: Mapping[str, str]
    """Path -> "file", "folder" or "link"."""
    implied: frozenset[str]
    """Folders that whoever unpacks it finds, or makes, by themselves."""


def outline(path: Path, caps: ArchiveCaps | None = None) -> Outline:
    """Names and kinds in a tar file, with every check of `scan`. Raises InputError as that does."""
    with disk_faults(path), path.open("rb") as raw:
        members = scan(raw, caps or ArchiveCaps(), "", contents=False)
    kinds = {member.entry.path: member.entry.kind for member in members}
    return Outline(kinds, frozenset(m.entry.path for m in members if m.implied))


def manifest_of(members: Sequence[Member]) -> Manifest:
    """The manifest of scanned members."""
    entries = tuple(member.entry for member in members)
    digest = hashlib.sha256()
    for entry in entries:
        fields = (entry.kind, entry.path, f"{entry.mode:o}", str(entry.size))
        for text in (*fields, entry.sha256 or entry.target):
            digest.update(os.fsencode(text) + b"\0")
    return Manifest(digest.hexdigest(), entries, sum(entry.size for entry in entries))


def scan(
    raw: BinaryIO, caps: ArchiveCaps, strip_prefix: str, *, contents: bool = True
) -> list[Member]:
    """All members, sorted by path, every content read and hashed once where `contents` says so.

    Raises InputError naming the member that is refused, or saying that this is no tar file.
    """
    scanner = _Scanner(raw, caps, strip_prefix.strip("/"), contents)
    try:
        scanner.run()
    except (
        tarfile.TarError, ValueError, ArithmeticError, LookupError, EOFError, RecursionError,
    ) as error:  # fmt: skip
        # tarfile lets all of these out of crafted headers.
        where = clean_line(f"{type(error).__name__}: {error}", 200)
        raise InputError(f"this is no sound tar file ({where})") from error
    return [scanner.members[path] for path in sorted(scanner.members, key=os.fsencode)]


class _Scanner:
    def __init__(self, raw: BinaryIO, caps: ArchiveCaps, prefix: str, contents: bool) -> None:
        self._raw = raw
        self._contents = contents
        self._caps = caps
        self._prefix = prefix
        self._size = 0
        raw.seek(0, os.SEEK_END)
        self._archive_size = raw.tell()
        raw.seek(0)
        self.members: dict[str, Member] = {}

    def run(self) -> None:
        reader = HeaderReader(self._raw)
        with tarfile.open(fileobj=reader, mode="r:") as tar:  # type: ignore[call-overload]
            seen, reached = 0, -1
            while (info := reader.next_member(tar)) is not None:
                # Headers with negative sizes lead tarfile in circles.
                if tar.offset <= reached or info.size < 0:
                    raise tarfile.ReadError("sizes that lead backwards")
                reached = tar.offset
                seen += 1
                self._take(info)
                # Folders that are only implied count too: one name can imply a hundred.
                if max(seen, len(self.members)) > self._caps.entries:
                    raise InputError(f"the archive has more than {self._caps.entries:,} entries")
            self._check_end(tar.offset)

    def _check_end(self, offset: int) -> None:
        """tarfile takes a broken header for the end; only a block of zeros is."""
        self._raw.seek(offset)
        if self._raw.read(tarfile.BLOCKSIZE) != b"\0" * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it ends early, or a header is broken")

    def _take(self, info: tarfile.TarInfo) -> None:
        path = self._stripped(_checked_path(info.name), info)
        if path == "":
            if not info.isdir():
                raise _refused(info.name, "a file without a name")
            return
        if info.isdir():
            self._put_folder(path, info)
        elif info.issym():
            self._put_link(path, info)
        elif info.islnk():
            self._put_copy(path, info)
        elif info.isreg() and not info.issparse():
            self._put_file(path, info)
        elif info.issparse():
            raise _refused(info.name, "a sparse file")
        else:
            raise _refused(info.name, "a device, FIFO or unknown kind of entry")

    def _stripped(self, path: str, info: tarfile.TarInfo) -> str:
        prefix = self._prefix
        if not prefix:
            return path
        if path == prefix:
            if info.isdir():
                return ""
            if info.issym():
                raise _refused(info.name, "a link in place of the folder or file itself")
            return path.rpartition("/")[2]
        if path.startswith(prefix + "/"):
            return path[len(prefix) + 1 :]
        if info.isdir() and prefix.startswith(path + "/"):
            return ""
        raise _refused(info.name, f"outside {prefix}/, where all should be")

    def _put_folder(self, path: str, info: tarfile.TarInfo) -> None:
        there = self.members.get(path)
        if there is not None and there.entry.kind != "folder":
            raise _refused(info.name, "there twice, as different things")
        self._add_parents(path, info.name)
        implied = there is not None and there.implied
        entry = Entry(path, "folder", info.mode & 0o755 | 0o700)
        self.members[path] = Member(entry, implied=implied)

    def _put_link(self, path: str, info: tarfile.TarInfo) -> None:
        self._check_new(path, info.name)
        if len(os.fsencode(info.linkname)) > LONGEST_PATH:
            raise _refused(info.name, "a link with a target that is too long")
        if not link_stays_inside(path, info.linkname):
            if not self._caps.refuses_links_out:
                return
            target = clean_line(info.linkname, 100)
            raise _refused(
                info.name, f"a link that leads out, to {target}", "make the link relative"
            )
        self.members[path] = Member(Entry(path, "link", 0o755, target=info.linkname))

    def _put_copy(self, path: str, info: tarfile.TarInfo) -> None:
        """A hard link: the content of an earlier file once more."""
        self._check_new(path, info.name)
        name = _checked_path(info.linkname)
        if self._prefix and name.startswith(self._prefix + "/"):
            name = name[len(self._prefix) + 1 :]
        first = self.members.get(name)
        if first is None or first.entry.kind != "file":
            raise _refused(info.name, "a hard link to what is not an earlier file of the archive")
        self._count(first.entry.size, info.name)
        entry = first.entry
        copy = Entry(path, "file", entry.mode, entry.size, entry.sha256)
        self.members[path] = Member(copy, first.offset)

    def _put_file(self, path: str, info: tarfile.TarInfo) -> None:
        self._check_new(path, info.name)
        if info.size > self._archive_size:
            raise tarfile.ReadError("unexpected end of data")
        self._count(info.size, info.name)
        digest = self._digest(info) if self._contents else ""
        mode = info.mode & 0o755 | 0o600
        entry = Entry(path, "file", mode, info.size, digest)
        self.members[path] = Member(entry, info.offset_data)

    def _digest(self, info: tarfile.TarInfo) -> str:
        digest, content = hashlib.sha256(), RangeReader(self._raw, info.offset_data, info.size)
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    def _check_new(self, path: str, name: str) -> None:
        if path in self.members:
            raise _refused(name, "there twice")
        self._add_parents(path, name)

    def _add_parents(self, path: str, name: str) -> None:
        parent = path.rpartition("/")[0]
        while parent:
            there = self.members.get(parent)
            if there is not None:
                if there.entry.kind != "folder":
                    raise _refused(name, f"below {clean_line(parent, 100)}, which is no folder")
                return
            self.members[parent] = Member(Entry(parent, "folder", 0o755), implied=True)
            parent = parent.rpartition("/")[0]

    def _count(self, size: int, name: str) -> None:
        self._size += size
        if self._size > self._caps.size:
            raise _refused(name, f"over the limit of {format_size(self._caps.size)} in all")
        if self._size > self._caps.ratio * self._archive_size + MIB:
            raise _refused(name, "one of too many hard links to large files")


class RangeReader:
    """Reads a part of a file. Raises ReadError where the file ends before the part does."""

    def __init__(self, raw: BinaryIO, offset: int, size: int) -> None:
        self._raw = raw
        self._at = offset
        self._left = size

    def read(self, limit: int = -1) -> bytes:
        """At most `limit` bytes; b"" at the end of the part."""
        wanted = self._left if limit < 0 else min(limit, self._left)
        if wanted == 0:
            return b""
        self._raw.seek(self._at)
        data = self._raw.read(wanted)
        if not data:
            raise tarfile.ReadError("unexpected end of data")
        self._at += len(data)
        self._left -= len(data)
        return data


def _checked_path(name: str) -> str:
    """The name without "." and doubled slashes."""
    if name.startswith("/"):
        raise _refused(name, "an absolute name")
    if "\0" in name:
        raise _refused(name, "a name with a NUL")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise _refused(name, 'a name with ".."')
    sizes = [len(os.fsencode(part)) for part in parts]
    if len(parts) > DEEPEST or sum(sizes) + len(sizes) > LONGEST_PATH:
        raise _refused(name, "a path that is too long")
    if sizes and max(sizes) > LONGEST_NAME:
        raise _refused(name, "a name that is too long")
    return "/".join(parts)


def _refused(name: str, why: str, remedy: str = "") -> InputError:
    shown = clean_line(name, 200) or '""'
    return InputError(f"the archive holds {shown}: {why}", remedy=remedy)
