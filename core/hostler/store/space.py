"""How much room there is on the disk of the state folder, and when that is too little."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hostler.base.errors import StateError
from hostler.base.units import GIB, MIB, format_size
from hostler.store.faults import disk_faults

_LOW = GIB
_LOW_PART = 0.05
_KEPT = 128 * MIB
_KEPT_PART = 0.01
REMEDY = (
    "free space there: `hostler gc --dry-run` shows what Hostler can free, `df` and `du` the rest"
)


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes of a disk that its owner may still use, and all of it."""

    free: int
    total: int

    @property
    def is_low(self) -> bool:
        """Somebody should look at it soon."""
        return self.free < min(_LOW, self.total * _LOW_PART)

    def has_room(self, size: int) -> bool:
        """Whether so much may be added. The last of it is kept for the database: what runs goes on
        with that."""
        return self.free - size >= min(_KEPT, self.total * _KEPT_PART)


def space_of(folder: Path) -> Space:
    """Of the disk that holds a folder, or the nearest above that is there. Raises StateError."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with disk_faults(folder):
        found = os.statvfs(folder)
    return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def sentence(folder: Path, space: Space) -> str:
    """How it stands with the disk of the state folder."""
    how = "full" if not space.has_room(0) else "nearly full"
    free, total = format_size(space.free), format_size(space.total)
    return f"the disk of the state folder {folder} is {how}: {free} of {total} left"


def require_room(folder: Path, size: int) -> None:
    """Raises StateError where so much does not go there any more."""
    space = space_of(folder)
    if space.has_room(size):
        return
    said = sentence(folder, space)
    if not space.is_low and space.has_room(0):
        free, total = format_size(space.free), format_size(space.total)
        said = f"the disk of the state folder {folder} has {free} of {total} left"
        said += f", and {format_size(size)} more will be written"
    raise StateError(said, remedy=REMEDY)
