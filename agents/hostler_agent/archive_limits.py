"""Limits of an archive, for reader and writer: at most 200,000 entries and 64 GiB, and the longest
names, longest paths and deepest folders."""

from __future__ import annotations

import os
from typing import Sequence

MOST_ENTRIES = 200_000
"""Members of an archive, and folders that occur only in the paths of members."""
MOST_BYTES = 64 * 1024**3
"""Bytes of all files of an archive together."""
_LONGEST_NAME, _LONGEST_PATH, _DEEPEST = 255, 4096, 100
"""Bytes of a name, bytes of a path, and number of names in a path."""


def excess(parts: Sequence[str]) -> str:
    """Which part of a path, given as its names, is too long; "" if an archive may hold the path."""
    sizes = [len(os.fsencode(part)) for part in parts]
    if len(parts) > _DEEPEST or is_too_long(sum(sizes) + len(sizes)):
        return "a path that is too long"
    return "a name that is too long" if sizes and max(sizes) > _LONGEST_NAME else ""


def is_too_long(size: int) -> bool:
    """Whether `size` bytes are too many for a path or a link's target."""
    return size > _LONGEST_PATH


def fits_archive(path: str) -> bool:
    """Whether an archive may hold a file at this path, whose names are plain."""
    return not excess(path.split("/"))
