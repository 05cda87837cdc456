"""Durable file writes, private folders, and the limits at which the daemon's disk is low (5 %, at
most 1 GiB) or full (1 %, at most 128 MiB)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hostler.base.errors import StateError
from hostler.base.paths import REMOTE_TYPES
from hostler.base.private import make_private
from hostler.base.units import GIB, MIB, format_size
from hostler.store.faults import disk_faults

_MOUNTINFO = Path("/proc/self/mountinfo")

_LOW = GIB
_LOW_PART = 0.05
_KEPT = 128 * MIB
_KEPT_PART = 0.01
REMEDY = (
    "free space there: `hostler gc --dry-run` shows what Hostler can free, `df` and `du` the rest"
)


def private_folder(path: Path) -> Path:
    """Make a folder with mode 0700; for an existing one, check it and set the mode.

    Raises StateError if it cannot be made, or is not safe (see `make_private`).
    """
    with disk_faults(path):
        make_private(str(path))
    return path


def sync_folder(path: Path) -> None:
    """Make changes of names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durable(path: Path, data: bytes) -> None:
    """Write a file with mode 0600. After a crash at any moment the file is complete or absent."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def network_type(path: Path) -> str | None:
    """The type of the network file system that holds a folder. None: the disk is local, or the
    mounts cannot be listed."""
    try:
        table = _MOUNTINFO.read_text(errors="surrogateescape")
    except OSError:
        return None
    kind = file_system_type(path, table)
    return kind if kind in REMOTE_TYPES else None


def require_local_disk(path: Path) -> None:
    """Raise StateError for a folder on a network file system. There SQLite's locks, its shared
    memory and `flock` are not reliable: two machines could write at the same time."""
    kind = network_type(path)
    if kind is not None:
        raise StateError(
            f"the state folder {path} is on a network file system ({kind})",
            remedy="set HOSTLER_STATE, or `state` under [daemon], to a folder on a local disk, "
            f"like /var/tmp/hostler-{os.getuid()}/state",
        )


def file_system_type(path: Path, mountinfo: str) -> str:
    """The type of the file system that holds `path`, from a table like /proc/self/mountinfo."""
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, types = left.split(" "), right.split(" ")
        if len(fields) < 5 or not right:
            continue
        mount = _unescape(fields[4])
        inside = real == mount or real.startswith(mount.rstrip("/") + "/")
        # If two mounts have the same folder, the later one hides the earlier one.
        if inside and len(mount) >= len(best):
            best, kind = mount, types[0]
    return kind


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes of a disk: those that its owner may still use, and all."""

    free: int
    total: int

    @property
    def is_low(self) -> bool:
        """Whether the disk needs attention soon."""
        return self.free < min(_LOW, self.total * _LOW_PART)

    def has_room(self, size: int) -> bool:
        """Whether `size` bytes may be added. The last part of the disk is reserved for the
        database, which running work needs."""
        return self.free - size >= min(_KEPT, self.total * _KEPT_PART)


def space_of(folder: Path) -> Space:
    """Space of the disk that holds a folder, or the nearest existing folder above it. Raises
    StateError."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with disk_faults(folder):
        found = os.statvfs(folder)
    return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def sentence(folder: Path, space: Space) -> str:
    """The state of the state folder's disk."""
    how = "full" if not space.has_room(0) else "nearly full"
    free, total = format_size(space.free), format_size(space.total)
    return f"the disk of the state folder {folder} is {how}: {free} of {total} left"


def require_room(folder: Path, size: int) -> None:
    """Raises StateError if there is not enough space for `size` bytes."""
    space = space_of(folder)
    if space.has_room(size):
        return
    said = sentence(folder, space)
    if not space.is_low and space.has_room(0):
        free, total = format_size(space.free), format_size(space.total)
        said = f"the disk of the state folder {folder} has {free} of {total} left"
        said += f", and {format_size(size)} more will be written"
    raise StateError(said, remedy=REMEDY)
