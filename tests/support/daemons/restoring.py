"""A daemon on a simulated lab, a backup of it, and the daemon that is restored from that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hostler.store.backup import back_up_to
from hostler.store.restoring import Restored, restore_from
from tests.support.daemons.simdaemon import SimDaemon


def _quiet(_what: str, _done: int, _total: int) -> None:
    """No progress is told."""


async def back_up(daemon: SimDaemon) -> Path:
    """A backup of a daemon beside its work."""
    file = daemon.state.parent / "file"
    await asyncio.to_thread(back_up_to, file, daemon.state, overwrite=True, progress=_quiet)
    return file


def put_back(file: Path, state: Path) -> Restored:
    """The backup in an empty folder."""
    state.mkdir(mode=0o700)
    return restore_from(file, state, time.time(), _quiet)


@asynccontextmanager
async def restored(old: SimDaemon, file: Path) -> AsyncIterator[SimDaemon]:
    """Another daemon on the same lab that goes on from the backup."""
    state = old.state.parent / "new"
    put_back(file, state)
    new = SimDaemon(old.lab, state)
    new.config = old.config
    await new.begin()
    try:
        yield new
    finally:
        await new.stop()
