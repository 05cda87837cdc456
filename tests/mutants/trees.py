"""Copies of the source tree, in which one file at a time is changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", ".*_cache", ".hypothesis", ".demo", "dist")


def copy_tree(source: Path, target: Path) -> Path:
    """A copy, with bytecode and the times that it is valid for."""
    shutil.copytree(source, target, symlinks=True, ignore=_LEFT_OUT)
    return target


@contextmanager
def changed(file: Path, text: str) -> Iterator[None]:
    """The file with another text, until the end of the block.

    Python takes bytecode for valid by a source's size and its time in seconds. Times are given so
    that bytecode of the original is taken for no change, and again for the original.
    """
    original, status = file.read_text(), file.stat()
    try:
        file.write_text(text)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 10**10))
        yield
    finally:
        file.write_text(original)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
