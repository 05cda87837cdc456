from __future__ import annotations

import threading
import time

from hostler_agent.patience import Patience


def test_a_call_that_hangs_keeps_none_of_the_others_from_being_made() -> None:
    free = threading.Event()

    def call(key: int) -> int:
        if key in (1, 3):
            free.wait(60)
        return key * 10

    patience: Patience[int] = Patience(0.05)
    assert patience.each(range(5), call) == {0: 0, 2: 20, 4: 40}
    began = time.monotonic()
    assert patience.each(range(5), call) == {0: 0, 2: 20, 4: 40}
    assert time.monotonic() - began < 0.05  # those that hang are not called again
    assert sum(thread.name == "patience" for thread in threading.enumerate()) == 2
    free.set()
    for thread in threading.enumerate():
        if thread.name == "patience":
            thread.join(20)
    assert patience.each(range(5), call) == {n: n * 10 for n in range(5)}


def test_nothing_to_call_is_nothing() -> None:
    patience: Patience[int] = Patience(1.0)
    assert patience.each((), lambda key: key) == {}
