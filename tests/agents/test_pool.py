"""The pool: every task runs, never more at once than allowed, and idle threads end."""

from __future__ import annotations

import threading
import time

from hostler_agent.pool import Pool
from tests.support.programs.agents import eventually


def _wait(event: threading.Event) -> None:
    event.wait(60)


def test_every_task_runs_and_few_at_once() -> None:
    pool, lock = Pool(most=4, idle=0.05), threading.Lock()
    running, most, done = 0, 0, 0

    def task() -> None:
        nonlocal running, most, done
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1
            done += 1

    for number in range(300):
        pool.run(task)
        if number % 50 == 0:
            time.sleep(0.06)  # some end for being idle, and others come
    eventually(lambda: done == 300)
    assert most <= 4


def test_slow_tasks_do_not_hold_up_quick_ones() -> None:
    pool, go, quick = Pool(most=8, idle=0.05), threading.Event(), threading.Event()
    for _ in range(7):
        pool.run(lambda: _wait(go))
    pool.run(quick.set)
    assert quick.wait(30)
    go.set()


def test_idle_threads_end() -> None:
    pool = Pool(most=8, idle=0.02)
    before = threading.active_count()
    for _ in range(5):
        pool.run(lambda: None)
    eventually(lambda: threading.active_count() <= before)
    done = threading.Event()
    pool.run(done.set)
    assert done.wait(60)
