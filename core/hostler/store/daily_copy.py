"""The daily copy of the database: made while the daemon works, since a large one takes long."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path

from hostler.base.errors import StateError
from hostler.store.opening import CopyStopped, back_up

_log = logging.getLogger("hostler.store")


class DailyCopy:
    """A copy that is being made, in a thread."""

    def __init__(self, path: Path) -> None:
        self._stop = threading.Event()
        self._task = asyncio.create_task(self._make(path))

    async def stop(self) -> None:
        """Give it up; the next start makes it."""
        self._stop.set()
        await asyncio.wait([self._task])

    async def _make(self, path: Path) -> None:
        try:
            await asyncio.to_thread(back_up, path, self._stop.is_set)
        except CopyStopped:
            pass
        except StateError as error:
            _log.warning("the daily copy of the database was not made: %s", error)
