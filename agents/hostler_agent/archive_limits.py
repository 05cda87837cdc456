"""Limits of an archive, for reader and writer: at most 200,000 entries and 64 GiB, and the longest
names, longest paths and deepest folders."""

from __future__ import annotations

import os
from typing import Sequence

MOST_ENTRIES = 200_000
"""Members, and folders that only their names imply."""
MOST_BYTES = 64 * 1024**3
"""Of all files together."""
_LONGEST_NAME, _LONGEST_PATH, _DEEPEST = 255, 4096, 100
"""Bytes of a name, of a path, and names in it."""


def excess(parts: Sequence[str]) -> str:
    """Which part of a path is too long, given its names; "" if an archive may hold the path."""
    sizes = [len(os.fsencode(part)) for part in parts]
    if len(parts) > _DEEPEST or is_too_long(sum(sizes) + len(sizes)):
        return "a path that is too long"
    return "a name that is too long" if sizes and max(sizes) > _LONGEST_NAME else ""


def is_too_long(size: int) -> bool:
    """Whether a path, or a link's target, of so many bytes is too long."""
    return size > _LONGEST_PATH


def fits_archive(path: str) -> bool:
    """Whether an archive may hold a file at this path, of plain names."""
    return not excess(path.split("/"))
