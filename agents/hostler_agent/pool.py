"""Threads for slow requests: at most 256, created when needed, ended after 10 idle seconds."""

from __future__ import annotations

import queue
import threading
from typing import Callable

MOST = 256
IDLE = 10.0
"""Seconds after which a thread without work ends."""


class Pool:
    """Runs tasks at once while fewer than `most` run, and the others in order after them."""

    def __init__(self, most: int = MOST, idle: float = IDLE) -> None:
        self._most = most
        self._idle_time = idle
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._free = 0

    def run(self, task: Callable[[], None]) -> None:
        """Run a task soon, in another thread. The task must not raise."""
        with self._lock:
            self._tasks.put(task)
            if self._free > 0:
                self._free -= 1  # a free thread will take this task
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._work, daemon=True, name="request").start()

    def _work(self) -> None:
        while True:
            try:
                task = self._tasks.get(timeout=self._idle_time)
            except queue.Empty:
                with self._lock:
                    if self._tasks.empty():
                        self._threads -= 1
                        self._free = max(0, self._free - 1)
                        return
                continue
            task()
            with self._lock:
                if self._tasks.empty():
                    self._free += 1
