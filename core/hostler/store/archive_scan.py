"""Checks an untrusted tar file member by member: refuses unsafe names, links and devices, too many
entries, and too much content."""

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
from hostler.base.units import KIB, MIB, format_size
from hostler.store.faults import disk_faults
from hostler_agent.archive_limits import MOST_BYTES, MOST_ENTRIES
from hostler_agent.tarcheck import (
    UNREADABLE,
    BadArchive,
    RangeReader,
    bad_member,
    check_count,
    check_kind,
    check_link,
    clean_path,
    link_stays_inside,
    members,
)

_CHUNK = 256 * KIB


@dataclass(frozen=True, slots=True)
class ArchiveCaps:
    """Limits of an archive; an archive over one of them is refused."""

    entries: int = MOST_ENTRIES
    size: int = MOST_BYTES
    """Most bytes of all content together; each hard link counts as a copy."""
    ratio: float = 20.0
    """The content may have at most this many times the size of the archive (hard links repeat
    content)."""
    refuses_links_out: bool = True
    """Refuse an archive with a link that leads out of it. False: leave out such links."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A member as it will be written to disk."""

    path: str
    kind: str
    """"file", "folder" or "link"."""
    mode: int
    size: int = 0
    sha256: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of an archive."""

    digest: str
    """Digest of paths, kinds, modes and contents: the same on all hosts for the same content."""
    entries: tuple[Entry, ...]
    """Sorted by path; includes folders without an entry of their own."""
    size: int
    """Bytes of content."""

    @property
    def files(self) -> int:
        """Number of files and links."""
        return sum(entry.kind != "folder" for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Member:
    """An entry, and the position of its content in the archive."""

    entry: Entry
    offset: int = 0
    implied: bool = False
    """A folder without an entry of its own, or whose content comes before that entry."""


@dataclass(frozen=True, slots=True)
class Outline:
    """The paths that an archive makes; their content was not read."""

    kinds: Mapping[str, str]
    """Path -> "file", "folder" or "link"."""
    implied: frozenset[str]
    """Folders without an entry of their own; the unpacking program makes them if they are
    missing."""


def outline(path: Path, caps: ArchiveCaps | None = None) -> Outline:
    """Names and kinds in a tar file, with every check of `scan`. Raises InputError like `scan`."""
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
    """All members, sorted by path. With `contents` every content is read and hashed once.

    Raises InputError that names the refused member, or says that this is not a tar file.
    """
    scanner = _Scanner(raw, caps, strip_prefix.strip("/"), contents)
    try:
        scanner.run()
    except BadArchive as error:
        raise InputError(str(error), remedy=error.remedy) from error
    except UNREADABLE as error:
        where = clean_line(f"{type(error).__name__}: {error}", 200)
        raise InputError(f"this is not a valid tar file ({where})") from error
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
        for seen, info in enumerate(members(self._raw), start=1):
            self._take(info)
            # Folders without an entry count too: one long path can imply a hundred of them.
            check_count(max(seen, len(self.members)), self._caps.entries)

    def _take(self, info: tarfile.TarInfo) -> None:
        path = self._stripped(clean_path(info.name), info)
        check_kind(path, info)
        if path == "":
            return
        if info.isdir():
            self._put_folder(path, info)
        elif info.issym():
            self._put_link(path, info)
        elif info.islnk():
            self._put_copy(path, info)
        else:
            self._put_file(path, info)

    def _stripped(self, path: str, info: tarfile.TarInfo) -> str:
        prefix = self._prefix
        if not prefix:
            return path
        if path == prefix:
            if info.isdir():
                return ""
            if info.issym():
                raise bad_member(info.name, "a link in place of the folder or file itself")
            return path.rpartition("/")[2]
        if path.startswith(prefix + "/"):
            return path[len(prefix) + 1 :]
        if info.isdir() and prefix.startswith(path + "/"):
            return ""
        raise bad_member(info.name, f"outside {prefix}/, where all should be")

    def _put_folder(self, path: str, info: tarfile.TarInfo) -> None:
        there = self.members.get(path)
        if there is not None and there.entry.kind != "folder":
            raise bad_member(info.name, "contained twice, with different types")
        self._add_parents(path, info.name)
        implied = there is not None and there.implied
        entry = Entry(path, "folder", info.mode & 0o755 | 0o700)
        self.members[path] = Member(entry, implied=implied)

    def _put_link(self, path: str, info: tarfile.TarInfo) -> None:
        self._check_new(path, info.name)
        if not self._caps.refuses_links_out and not link_stays_inside(path, info.linkname):
            return
        check_link(path, info)
        self.members[path] = Member(Entry(path, "link", 0o755, target=info.linkname))

    def _put_copy(self, path: str, info: tarfile.TarInfo) -> None:
        """Add a hard link as a copy of the earlier file."""
        self._check_new(path, info.name)
        name = clean_path(info.linkname)
        if self._prefix and name.startswith(self._prefix + "/"):
            name = name[len(self._prefix) + 1 :]
        first = self.members.get(name)
        if first is None or first.entry.kind != "file":
            raise bad_member(info.name, "a hard link, but not to an earlier file of the archive")
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
            raise bad_member(name, "there twice")
        self._add_parents(path, name)

    def _add_parents(self, path: str, name: str) -> None:
        parent = path.rpartition("/")[0]
        while parent:
            there = self.members.get(parent)
            if there is not None:
                if there.entry.kind != "folder":
                    raise bad_member(name, f"below {parent[:100]!r}, which is not a folder")
                return
            self.members[parent] = Member(Entry(parent, "folder", 0o755), implied=True)
            parent = parent.rpartition("/")[0]

    def _count(self, size: int, name: str) -> None:
        self._size += size
        if self._size > self._caps.size:
            raise bad_member(name, f"over the limit of {format_size(self._caps.size)} in all")
        if self._size > self._caps.ratio * self._archive_size + MIB:
            raise bad_member(name, "one of too many hard links to large files")
