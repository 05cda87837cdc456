"""Wakes watchers (streams, waiting clients) after each write. What it was, they read from the
store.

A watcher that is slow, or away for a while, misses nothing: it asks the store for every event after
the last number it saw. The hub keeps no queues.
"""

from __future__ import annotations

import asyncio
import contextlib


class Hub:
    """A number that grows with each change; watchers wait for that."""

    def __init__(self) -> None:
        self._version = 0
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def version(self) -> int:
        """Grows with each `publish`."""
        return self._version

    @property
    def is_closed(self) -> bool:
        """The daemon is stopping: watchers should end."""
        return self._closed

    def publish(self) -> None:
        """Wake all watchers."""
        self._version += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """Wake all watchers for the last time."""
        self._closed = True
        self.publish()

    async def wait(self, seen: int, timeout: float | None = None) -> int:
        """Wait until the version is greater than `seen`, or `timeout` seconds have passed; returns
        the version."""
        if self._version == seen and not self._closed:
            changed = self._changed
            # Not `wait_for`: in Python 3.11 it can swallow a cancellation that comes with the news.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await changed.wait()
        return self._version
