"""Folders of tests in memory: databases flush each change, which on a disk costs a quarter of the
processor time of such a test, and more in waiting. Daemons as people run them (tests/e2e, the lab)
stay on the disk. A conftest.py offers it to its folder:

    from tests.support.daemons.memory import tmp_path

    __all__ = ["tmp_path"]
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_SHARED = "/dev/shm"
_NEEDED = 4 * 1024**3
"""Bytes that have to be free there, and available in memory."""


@pytest.fixture
def tmp_path(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Path]:
    """A folder that goes with the test; where memory is short, pytest's own."""
    place = memory()
    if place is None:
        yield tmp_path_factory.mktemp(request.node.name[:30])
        return
    with tempfile.TemporaryDirectory(prefix="hm-", dir=place, ignore_cleanup_errors=True) as made:
        yield Path(made)


@functools.cache
def memory() -> str | None:
    """A folder in memory in which programs may run; None where there is none, or little memory."""
    try:
        found, available = os.statvfs(_SHARED), _available()
    except (OSError, ValueError):
        return None
    is_ours = os.access(_SHARED, os.W_OK) and not found.f_flag & os.ST_NOEXEC
    return (
        _SHARED if is_ours and min(found.f_bavail * found.f_frsize, available) > _NEEDED else None
    )


def _available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
