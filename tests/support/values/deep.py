"""Folders in folders, deeper than most programs follow."""

from __future__ import annotations

import os
from pathlib import Path

DEPTH = 3000


def dig(folder: Path, depth: int = DEPTH) -> None:
    """Make a folder in this one, another in that, and so on."""
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
