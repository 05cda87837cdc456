"""The files inside a stored artifact: lists them, and reads one without unpacking the others. A
blob beside the tar contains the list, with the offset of each file."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import posixpath
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hostler.base.errors import NotFoundError, StateError
from hostler.base.units import GIB, MIB
from hostler.model.files import Artifact, under
from hostler.model.views.kept import KeptEntry
from hostler.store.archive_scan import ArchiveCaps, Entry, Manifest, scan
from hostler.store.content import ContentStore
from hostler.store.faults import disk_faults

PAGE = MIB // 4
"""Bytes that are read and held in memory at a time."""
_MOST_HELD = 50_000
"""Most file names held in memory, for the artifacts requested last."""
_ANY_SIZE = ArchiveCaps(entries=10_000_000, size=1024 * 1024 * GIB, ratio=1e9)
"""Limits for archives that the daemon wrote itself."""
_CHUNK = MIB


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A plain file."""

    path: str
    size: int
    sha256: str
    """SHA-256; "" in a folder that was not copied."""
    mode: int
    offset: int
    """Offset of its bytes in the tar; -1 if there is no tar."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files and links of an artifact, sorted by path."""

    files: tuple[ListedFile, ...]
    links: tuple[tuple[str, str], ...] = ()
    """Path and target."""


def listing_of(tar: Path, manifest: Manifest) -> Listing:
    """The listing of a tar that `normalise` wrote with this manifest."""
    with disk_faults(tar), tar.open("rb") as raw:
        members = scan(raw, ArchiveCaps(), "", contents=False)
    offsets = {member.entry.path: member.offset for member in members}
    return Listing(
        tuple(_listed(e, offsets[e.path]) for e in manifest.entries if e.kind == "file"),
        tuple((e.path, e.target) for e in manifest.entries if e.kind == "link"),
    )


def write_listing(listing: Listing, content: ContentStore, key: str) -> str:
    """Store a listing in the content store; returns its digest. `key` names the transfer."""
    with content.partial(key) as partial:
        partial.restart()
        partial.append(encode_listing(listing))
        return partial.finish()


def read_listing(content: ContentStore, digest: str) -> Listing:
    """The listing that `write_listing` stored. Raises NotFoundError, or StateError if it is
    invalid."""
    path = content.path(digest)
    with disk_faults(path):
        data = path.read_bytes()
    return decode_listing(data, digest)


def encode_listing(listing: Listing) -> bytes:
    """The listing as ASCII JSON, which can contain any file name."""
    files = [[f.path, f.size, f.sha256, f.mode, f.offset] for f in listing.files]
    value = {"files": files, "links": [list(link) for link in listing.links]}
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def decode_listing(data: bytes, digest: str) -> Listing:
    """The listing from its JSON. Raises StateError."""
    try:
        value = json.loads(data)
        files = tuple(ListedFile(*item) for item in value["files"])
        return Listing(files, tuple((path, target) for path, target in value["links"]))
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(
            f"content {digest[:12]} is not a list of files ({error})",
            remedy="the disk may have lost data: check its health (smartctl, dmesg)",
        ) from error


def _listed(entry: Entry, offset: int) -> ListedFile:
    return ListedFile(entry.path, entry.size, entry.sha256, entry.mode, offset)


def top_level(listing: Listing) -> tuple[KeptEntry, ...]:
    """The entries at the top level, by name."""
    found: dict[str, tuple[int, int]] = {}
    entries = [(f.path, f.size) for f in listing.files] + [(path, 0) for path, _ in listing.links]
    for path, size in entries:
        first, slash, _ = path.partition("/")
        bytes_, files = found.get(first + slash, (0, 0))
        found[first + slash] = (bytes_ + size, files + 1)
    return tuple(
        KeptEntry(name=name, size=size, files=files)
        for name, (size, files) in sorted(found.items())
    )


@dataclass(frozen=True, slots=True)
class SavedFiles:
    """The content of an artifact; paths are relative to the working folder."""

    files: Mapping[str, ListedFile]
    links: Mapping[str, str]
    """Path -> target of the link."""
    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 of files, computed by reading them: listings of earlier versions contain none."""


class SavedArchives:
    """Reads the artifacts of the content store, file by file."""

    def __init__(self, content: ContentStore) -> None:
        self._content = content
        self._held: OrderedDict[tuple[str, str], SavedFiles] = OrderedDict()

    async def files(self, artifact: Artifact, declared: str) -> SavedFiles:
        """The files in the artifact of an output with this declared path. Raises NotFoundError if
        the artifact was removed, StateError if it cannot be read."""
        key = (artifact.index or artifact.digest, declared)
        found = self._held.get(key)
        if found is None:
            found = await asyncio.to_thread(self._read, artifact, declared)
            self._held[key] = found
        self._held.move_to_end(key)
        while len(self._held) > 1 and sum(map(_count, self._held.values())) > _MOST_HELD:
            self._held.popitem(last=False)
        return found

    async def open(self, artifact: Artifact, saved: SavedFiles, path: str) -> SavedReader:
        """Open one of its files. It can be read to its end even if it is removed meanwhile."""
        listed = saved.files[path]
        reader = await asyncio.to_thread(SavedReader, self._content, artifact, listed)
        digest = listed.sha256 or saved.digests.get(path, "")
        try:
            digest = digest or await asyncio.to_thread(reader.hash)
        except BaseException:
            reader.close()
            raise
        saved.digests[path] = reader.sha256 = digest
        return reader

    def _read(self, artifact: Artifact, declared: str) -> SavedFiles:
        listing = self._listing(artifact)
        is_file = _is_one_file(listing, declared)
        folder = posixpath.dirname(declared.rstrip("/")) if is_file else declared
        folder = "" if folder in (".", "") else posixpath.normpath(folder)
        return SavedFiles(
            {under(folder, file.path): file for file in listing.files},
            {under(folder, path): target for path, target in listing.links},
        )

    def _listing(self, artifact: Artifact) -> Listing:
        index = artifact.digest if artifact.kind == "here" else artifact.index
        if index is not None:
            return read_listing(self._content, index)
        path = self._content.path(artifact.digest)
        with disk_faults(path), path.open("rb") as raw:
            members = scan(raw, _ANY_SIZE, "", contents=False)
        files = [
            ListedFile(m.entry.path, m.entry.size, "", m.entry.mode, m.offset)
            for m in members
            if m.entry.kind == "file"
        ]
        links = [(m.entry.path, m.entry.target) for m in members if m.entry.kind == "link"]
        return Listing(tuple(files), tuple(links))


class SavedReader:
    """The bytes of one saved file. Close it."""

    sha256 = ""

    def __init__(self, content: ContentStore, artifact: Artifact, file: ListedFile) -> None:
        self.size = file.size
        self._offset = file.offset
        path = content.path(artifact.digest)
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFoundError(f"content {artifact.digest[:12]} was removed") from None
        self._path = path

    def hash(self) -> str:
        """SHA-256 of the whole file. Takes as long as reading it."""
        digest, at = hashlib.sha256(), 0
        while data := self._piece(at, min(_CHUNK, self.size - at)):
            digest.update(data)
            at += len(data)
        return digest.hexdigest()

    async def pages(self, begin: int, end: int) -> AsyncIterator[bytes]:
        """Bytes from `begin` to `end`, read in a thread, because the disk may be slow."""
        while begin < end:
            data = await asyncio.to_thread(self._piece, begin, min(PAGE, end - begin))
            yield data
            begin += len(data)

    def close(self) -> None:
        """Close the file; may be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _piece(self, begin: int, size: int) -> bytes:
        if size <= 0:
            return b""
        with disk_faults(self._path):
            data = os.pread(self._descriptor, size, self._offset + begin)
        if not data:
            raise StateError(f"{self._path} ends early", remedy="check the disk")
        return data


def _is_one_file(listing: Listing, declared: str) -> bool:
    """Whether the output is one file or link, which keeps its own name, and not a folder."""
    paths = [file.path for file in listing.files] + [path for path, _ in listing.links]
    return not declared.endswith("/") and paths == [posixpath.basename(declared)]


def _count(saved: SavedFiles) -> int:
    return len(saved.files) + len(saved.links)
