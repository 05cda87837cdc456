from __future__ import annotations

import threading

from hostler_agent.deadline_thread import DeadlineThread


def test_a_call_that_hangs_keeps_none_of_the_others_from_being_made() -> None:
    free, called = threading.Event(), list[int]()

    def call(key: int) -> int:
        called.append(key)
        if key in (1, 3):
            free.wait(60)
        return key * 10

    patience: DeadlineThread[int] = DeadlineThread(1.0)
    assert patience.each(range(5), call) == {0: 0, 2: 20, 4: 40}
    assert patience.each(range(5), call) == {0: 0, 2: 20, 4: 40}
    assert sorted(called) == [0, 0, 1, 2, 2, 3, 4, 4], "those that hang are not called again"
    assert sum(thread.name == "deadline" for thread in threading.enumerate()) == 2
    free.set()
    for thread in threading.enumerate():
        if thread.name == "deadline":
            thread.join(60)
    assert patience.each(range(5), call) == {n: n * 10 for n in range(5)}


def test_nothing_to_call_is_nothing() -> None:
    patience: DeadlineThread[int] = DeadlineThread(1.0)
    assert patience.each((), lambda key: key) == {}
