"""What lies where in a tar of the content store, as a blob beside it: names, digests, offsets.

A file of an artifact is read at its offset, without unpacking or reading what comes before it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from hostler.base.errors import StateError
from hostler.model.views.kept import KeptEntry
from hostler.store.archive_scan import ArchiveCaps, Entry, Manifest, scan
from hostler.store.content import ContentStore
from hostler.store.faults import disk_faults


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A plain file."""

    path: str
    size: int
    sha256: str
    """"" where it lies in a folder that nothing was copied from."""
    mode: int
    offset: int
    """Of its bytes in the tar; -1 where there is no tar."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files and links of an artifact, sorted by path."""

    files: tuple[ListedFile, ...]
    links: tuple[tuple[str, str], ...] = ()
    """Path and target."""


def listing_of(tar: Path, manifest: Manifest) -> Listing:
    """What is in a tar that `normalise` wrote, whose manifest this is."""
    with disk_faults(tar), tar.open("rb") as raw:
        members = scan(raw, ArchiveCaps(), "", contents=False)
    offsets = {member.entry.path: member.offset for member in members}
    return Listing(
        tuple(_listed(e, offsets[e.path]) for e in manifest.entries if e.kind == "file"),
        tuple((e.path, e.target) for e in manifest.entries if e.kind == "link"),
    )


def write_listing(listing: Listing, content: ContentStore, key: str) -> str:
    """Take a listing into the content store; its digest. `key` names the transfer."""
    with content.partial(key) as partial:
        partial.restart()
        partial.append(encode_listing(listing))
        return partial.finish()


def read_listing(content: ContentStore, digest: str) -> Listing:
    """What `write_listing` wrote. Raises NotFoundError, or StateError where it is broken."""
    path = content.path(digest)
    with disk_faults(path):
        data = path.read_bytes()
    return decode_listing(data, digest)


def encode_listing(listing: Listing) -> bytes:
    """As JSON of ASCII, so that any name can be written."""
    files = [[f.path, f.size, f.sha256, f.mode, f.offset] for f in listing.files]
    value = {"files": files, "links": [list(link) for link in listing.links]}
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def decode_listing(data: bytes, digest: str) -> Listing:
    """The listing again. Raises StateError."""
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
    """What lies at the top, in the order of names."""
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
