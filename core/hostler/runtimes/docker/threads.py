"""A few threads for blocking calls, which never keep the process from ending.

`ThreadPoolExecutor` waits for its threads at exit; a call to a host that hangs would hold the
whole daemon for as long as its time limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """At most `count` threads, started when needed, all of them daemonic."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    async def run(self, call: Callable[[], T]) -> T:
        """Run `call` in a thread; its result. Cancelled before its turn, it is not run at all."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put(partial(_carry_out, loop, future, call))
        if not self._idle.acquire(blocking=False) and self._started < self._count:
            self._started += 1
            name = f"{self._name}-{self._started}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        return await future

    def close(self) -> None:
        """Let the threads end after what they do now."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            self._idle.release()


def _carry_out(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], call: Callable[[], T]
) -> None:
    """Call, and hand what came of it to whoever waits in the loop."""
    if future.cancelled():
        return
    try:
        settle = partial(_give, future, call())
    except Exception as error:  # handed to whoever awaits the call
        settle = partial(_fail, future, error)
    # The loop may have been closed meanwhile: then nobody waits for this.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(settle)


def _give(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
