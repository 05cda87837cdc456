"""Unpacks and repacks untrusted tar files safely; `archive_scan` decides which are refused.

Refused: absolute names, "..", links that lead out, entries below links, devices, FIFOs, sparse
files, duplicate names, too many entries, too much content. Owners and times are removed; modes are
masked.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hostler.base.errors import InputError
from hostler.base.text import clean_line
from hostler.packing.tar import TarWriter
from hostler.store.archive_scan import (
    ArchiveCaps,
    Entry,
    Manifest,
    Member,
    manifest_of,
    scan,
)
from hostler.store.faults import disk_faults
from hostler_agent.tarcheck import RangeReader

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

__all__ = [
    "ArchiveCaps",
    "Entry",
    "Manifest",
    "extract",
    "inspect_archive",
    "is_normal",
    "list_archive",
    "normalise",
]

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CAPS = ArchiveCaps()


def inspect_archive(path: Path, caps: ArchiveCaps = _CAPS) -> Manifest:
    """The content of a tar file. The digest is the same for the same content, whichever program
    packed it.

    Raises InputError that names the first refused member.
    """
    with disk_faults(path), path.open("rb") as raw:
        return manifest_of(scan(raw, caps, ""))


def list_archive(path: Path, caps: ArchiveCaps = _CAPS) -> list[Entry]:
    """The entries of a tar file, without reading their content: they have no digests.

    Raises InputError like `inspect_archive`.
    """
    with disk_faults(path), path.open("rb") as raw:
        return [member.entry for member in scan(raw, caps, "", contents=False)]


def normalise(
    source: Path, target: Path, strip_prefix: str = "", caps: ArchiveCaps = _CAPS
) -> tuple[Manifest, str, int]:
    """Repack `source` into a new file `target`: the same content gives the same bytes.

    `strip_prefix` names the folder that contains everything and is removed from the paths (Docker
    packs `out/` as `out/...`). If it names a file, the file keeps its own name. Returns the
    content, and SHA-256 and size of the new file, which is synced. Raises InputError like
    `inspect_archive`, and then leaves no `target`.
    """
    with disk_faults(source), source.open("rb") as raw:
        members = scan(raw, caps, strip_prefix)
        with disk_faults(target):
            descriptor = os.open(target, _FILE_FLAGS, 0o600)
            try:
                with os.fdopen(descriptor, "wb", buffering=1024 * 1024) as out:
                    with TarWriter(out) as tar:
                        _repack(raw, members, tar)
                    out.flush()
                    os.fsync(out.fileno())
            except BaseException:
                target.unlink(missing_ok=True)
                raise
    return manifest_of(members), tar.digest, tar.size


def is_normal(source: Path, digest: str, caps: ArchiveCaps = _CAPS) -> bool:
    """Whether `normalise` would give exactly the bytes of `source`, which has this digest. Writes
    nothing. Raises InputError like `inspect_archive`."""
    with disk_faults(source), source.open("rb") as raw:
        members = scan(raw, caps, "", contents=False)
        with TarWriter(_Nowhere()) as tar:
            _repack(raw, members, tar)
    return tar.digest == digest


class _Nowhere(io.BytesIO):
    """A file that accepts all bytes and stores none."""

    def write(self, data: Buffer) -> int:
        """Returns the number of bytes."""
        return memoryview(data).nbytes


def extract(path: Path, target: Path, caps: ArchiveCaps = _CAPS) -> Manifest:
    """Unpack into the folder `target`, which is made if it is missing. Existing files are never
    replaced.

    Links are made last, so that no file is written through one. Raises InputError that names the
    refused member, or the member whose path already exists.
    """
    with disk_faults(path), path.open("rb") as raw:
        members = scan(raw, caps, "")
        with disk_faults(target):
            target.mkdir(mode=0o755, parents=True, exist_ok=True)
            root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for member in sorted(members, key=lambda each: each.entry.kind == "link"):
                _unpack(raw, root, member)
        finally:
            os.close(root)
    return manifest_of(members)


def _repack(raw: BinaryIO, members: Sequence[Member], tar: TarWriter) -> None:
    for member in members:
        entry = member.entry
        if entry.kind == "folder":
            tar.add_folder(entry.path, entry.mode)
        elif entry.kind == "link":
            tar.add_link(entry.path, entry.target)
        else:
            content = RangeReader(raw, member.offset, entry.size)
            tar.add_file(entry.path, entry.mode, entry.size, content)  # type: ignore[arg-type]


def _unpack(raw: BinaryIO, root: int, member: Member) -> None:
    entry = member.entry
    *folders, last = entry.path.split("/")
    parent = os.dup(root)
    try:
        for name in folders:
            parent = _enter(parent, name)
        if entry.kind == "folder":
            _make_folder(parent, last, entry.mode)
        elif entry.kind == "link":
            os.symlink(entry.target, last, dir_fd=parent)
        else:
            descriptor = os.open(last, _FILE_FLAGS, entry.mode, dir_fd=parent)
            with os.fdopen(descriptor, "wb") as out:
                shutil.copyfileobj(RangeReader(raw, member.offset, entry.size), out, 256 * 1024)
                os.fchmod(out.fileno(), entry.mode)
    except OSError as error:
        name = clean_line(entry.path, 200)
        if isinstance(error, (FileExistsError, NotADirectoryError)) or error.errno == errno.ELOOP:
            raise InputError(
                f"{name}: something else exists there", remedy="unpack into an empty folder"
            ) from error
        raise
    finally:
        os.close(parent)


def _enter(parent: int, name: str) -> int:
    """Open a subfolder and close `parent`, which stays open if an error is raised."""
    inner = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    os.close(parent)
    return inner


def _make_folder(parent: int, name: str, mode: int) -> None:
    try:
        os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:
        os.close(os.open(name, _FOLDER_FLAGS, dir_fd=parent))
