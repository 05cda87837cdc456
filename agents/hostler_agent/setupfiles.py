"""Notes files that a setup made in the working folder, so that they do not count as results."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Dict, Iterator

from hostler_agent import beneath, left_out, placed
from hostler_agent.placed import Placed

_MOST = 200_000
"""Limit of the entries that are examined."""


def note(home: str) -> None:
    """Note all files in the attempt's working folder that are new or changed since it was placed.
    `home`: the attempt's folder. Raises OSError."""
    work = os.path.join(home, "work")
    folder = beneath.open_folder(home)
    try:
        known = placed.read(folder) or {}
    finally:
        os.close(folder)
    writer = placed.Writer(home, "")
    try:
        for path in _new(work, known):
            with contextlib.suppress(FileNotFoundError):  # a process of the setup may still work
                content = os.readlink(path) if os.path.islink(path) else ""
                writer.add(os.path.relpath(path, work), path, content)
    finally:
        writer.close()


def _new(work: str, known: Dict[bytes, Placed]) -> Iterator[str]:
    left = _MOST
    for folder, folders, files in os.walk(work):
        at = os.fsencode(os.path.relpath(folder, work))
        is_top = at == b"."
        folders[:] = [
            f for f in folders if left_out.folder_left_out(os.fsencode(f), is_top) is None
        ]
        for name in files:
            left -= 1
            if left < 0:
                return
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            inside = os.fsencode(name) if is_top else at + b"/" + os.fsencode(name)
            before = known.get(inside)
            is_plain = stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)
            if is_plain and (before is None or not before.is_untouched(status)):
                yield path
