"""How a path is mounted here, by the kernel's own table."""

from __future__ import annotations

import os
from typing import Optional


def shared(path: str, table: str = "/proc/self/mountinfo") -> Optional[bool]:
    """Whether the mount that holds `path` is shared or a slave; None where that cannot be read.

    Docker refuses a bind with propagation from any other.
    """
    real = os.path.realpath(path)
    best, found = "", None
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.split(" - ")[0].split()
                if len(fields) < 6:
                    continue
                mount = _plain(fields[4])
                inside = real == mount or real.startswith(mount.rstrip("/") + "/")
                # Of two mounts on one folder, the later hides the earlier.
                if inside and len(mount) >= len(best):
                    tags = fields[6:]
                    best = mount
                    found = any(tag.startswith(("shared:", "master:")) for tag in tags)
    except OSError:
        return None
    return found


def _plain(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
