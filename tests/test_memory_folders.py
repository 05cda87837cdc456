"""Folders of tests lie in memory only where there is plenty, and programs may run."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from tests.support.daemons import memory

GIB = 1024**3


@pytest.mark.parametrize(
    ("free", "flags", "available", "found"),
    [
        (8 * GIB, 0, 8 * GIB, "/dev/shm"),
        (GIB, 0, 8 * GIB, None),
        (8 * GIB, 0, GIB, None),
        (8 * GIB, os.ST_NOEXEC, 8 * GIB, None),
    ],
)
def test_there_is_one_only_where_it_is_large_and_programs_may_run(
    monkeypatch: pytest.MonkeyPatch, free: int, flags: int, available: int, found: str | None
) -> None:
    status = SimpleNamespace(f_flag=flags, f_bavail=free, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _path: status)
    monkeypatch.setattr(os, "access", lambda _path, _mode: True)
    monkeypatch.setattr(memory, "_available", lambda: available)
    assert memory.memory.__wrapped__() == found
