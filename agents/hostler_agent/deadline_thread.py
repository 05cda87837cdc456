"""Calls with a timeout, each in a thread, so that a hanging one does not block the others."""

from __future__ import annotations

import queue
import threading
from typing import Callable, Dict, Generic, List, Optional, Sequence, Tuple, TypeVar

Result = TypeVar("Result")


class DeadlineThread(Generic[Result]):
    """Makes calls one after the other in a thread. If a call takes longer than `deadline` seconds,
    the caller continues without it, and repeats that call only after it has returned."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._stuck: Dict[int, threading.Thread] = {}

    def each(self, keys: Sequence[int], call: Callable[[int], Result]) -> Dict[int, Result]:
        """The results by key, without late ones."""
        self._stuck = {key: thread for key, thread in self._stuck.items() if thread.is_alive()}
        found: Dict[int, Result] = {}
        left = [key for key in keys if key not in self._stuck]
        while left:
            stuck = self._call(left, call, found)
            left = left[left.index(stuck) + 1 :] if stuck is not None else []
        return found

    def _call(
        self, keys: List[int], call: Callable[[int], Result], found: Dict[int, Result]
    ) -> Optional[int]:
        """Make the calls; the key of the first that does not return, None if all return."""
        results: queue.SimpleQueue[Tuple[int, Result]] = queue.SimpleQueue()
        retired = threading.Event()

        def work() -> None:
            for key in keys:
                if retired.is_set():
                    return
                results.put((key, call(key)))

        thread = threading.Thread(target=work, daemon=True, name="deadline")
        thread.start()
        for key in keys:
            try:
                _, found[key] = results.get(timeout=self._deadline)
            except queue.Empty:
                retired.set()
                self._stuck[key] = thread
                return key
        return None
