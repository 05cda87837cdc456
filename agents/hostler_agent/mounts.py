"""Mount points of paths, from the kernel's table: whether one is shared, and whether anything is
mounted in a folder."""

from __future__ import annotations

import os
from typing import List, Optional, Tuple


def shared(path: str, table: str = "/proc/self/mountinfo") -> Optional[bool]:
    """Whether the mount that holds `path` is shared or a slave; None if unknown. Docker refuses a
    bind with propagation from any other mount."""
    fields = _holding(path, table)
    if fields is None:
        return None
    return any(tag.startswith(("shared:", "master:")) for tag in fields[6:])


def root_of(path: str, table: str = "/proc/self/mountinfo") -> Tuple[str, str]:
    """The mount point of the file system that holds `path`, and the folder of it that is mounted
    there; two empty texts if unknown."""
    fields = _holding(path, table)
    return ("", "") if fields is None else (fields[4], _plain(fields[3]))


def any_in(path: str, table: str = "/proc/self/mountinfo") -> bool:
    """Whether anything is mounted on a folder or in it, by the kernel's table. The folder itself is
    not accessed."""
    real = os.path.realpath(path)
    with open(table, encoding="utf-8", errors="surrogateescape") as file:
        points = (line.split(" ", 5)[4] for line in file if line.count(" ") >= 5)
        return any((_plain(point) + "/").startswith(real + "/") for point in points)


def _holding(path: str, table: str) -> Optional[List[str]]:
    """The fields of the mount that holds a path."""
    real = os.path.realpath(path)
    best: Optional[List[str]] = None
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.split(" - ")[0].split()
                if len(fields) < 6:
                    continue
                fields[4] = _plain(fields[4])
                inside = real == fields[4] or real.startswith(fields[4].rstrip("/") + "/")
                # If two mounts have the same folder, the later one hides the earlier one.
                if inside and (best is None or len(fields[4]) >= len(best[4])):
                    best = fields
    except OSError:
        return None
    return best


def _plain(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
