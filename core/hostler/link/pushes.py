"""Delivers messages that agents send by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from hostler.ports import Dropped, Push

_MOST = 10_000


class PushQueue:
    """Pushes of one connection after another. When nobody takes them, the oldest are dropped:
    looks say the same, later."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Push] = asyncio.Queue()
        self._is_open = False

    def open(self) -> None:
        """A connection begins."""
        self._queue = asyncio.Queue()
        self._is_open = True

    def put(self, push: Push) -> None:
        """The agent said something."""
        if self._queue.qsize() >= _MOST:
            self._queue.get_nowait()
        self._queue.put_nowait(push)

    def drop(self, reason: str) -> None:
        """The connection is gone."""
        if self._is_open:
            self._is_open = False
            self._queue.put_nowait(Dropped(reason))

    async def listen(self) -> AsyncIterator[Push]:
        """Everything of the connection that is open now, up to and including `Dropped`."""
        queue = self._queue
        if not self._is_open and queue.empty():
            yield Dropped("not connected")
            return
        while True:
            push = await queue.get()
            yield push
            if isinstance(push, Dropped):
                return
