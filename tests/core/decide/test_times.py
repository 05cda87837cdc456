"""How long something runs: by its host, or by the daemon that saw it begin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.decide.times import begun_at, ended_at, known_since, measured_start
from hostler.model.hosts import Look, Workload
from hostler.model.plans import Snapshot
from hostler.model.runs import Phase
from tests.support.values.planning import DAEMON, NOW, attempt, workload

RUNS = attempt(launched_at=NOW - 60)
LOOK = Look(asked_at=NOW - 1, boot_id="b", wall=5000.0, up=900.0)
SNAPSHOT = Snapshot(now=NOW, daemon_id=DAEMON, hosts=(), runs=(), begun_at=NOW - 10)
LATER = replace(SNAPSHOT, earlier=frozenset({RUNS.attempt_id}))


def seen(**fields: Any) -> Workload:
    return workload(RUNS, **fields)


@pytest.mark.parametrize(
    ("work", "ran"),
    [
        (seen(started_up=600.0, started_at=1.0), 300.0),
        (seen(started_at=4000.0), 1000.0),
        (seen(started_at=9000.0), 0.0),
        (seen(), None),
        (replace(seen(started_up=600.0), running=False), None),
    ],
    ids=["since boot", "wall", "wall set back", "nothing", "ended"],
)
def test_the_clock_since_boot_counts_before_the_wall_clock(
    work: Workload, ran: float | None
) -> None:
    assert measured_start(LOOK, work) == (None if ran is None else LOOK.asked_at - ran)


def test_of_an_earlier_daemon_only_the_measure_of_the_host_counts() -> None:
    assert begun_at(RUNS, LATER, LOOK, seen(started_up=600.0)) == LOOK.asked_at - 300
    assert begun_at(RUNS, LATER, LOOK, seen()) == LATER.begun_at
    assert begun_at(RUNS, LATER, None, None) == LATER.begun_at
    assert known_since(RUNS, LATER) == LATER.begun_at


def test_of_this_daemon_the_launch_counts_unless_it_slept_since() -> None:
    assert begun_at(RUNS, SNAPSHOT, LOOK, seen(started_up=838.0)) == NOW - 60
    assert begun_at(RUNS, SNAPSHOT, LOOK, seen(started_up=600.0)) == LOOK.asked_at - 300
    assert begun_at(RUNS, SNAPSHOT, LOOK, seen(started_at=4000.0)) == NOW - 60  # or was it set?
    starting = replace(RUNS, phase=Phase.STARTING, launched_at=None)
    assert begun_at(starting, SNAPSHOT, LOOK, None) is None


def test_an_end_is_no_later_than_the_daemon_that_read_it() -> None:
    ended = replace(RUNS, phase=Phase.FAILED, finished_at=NOW + 3600)
    assert ended_at(ended, LATER) == LATER.begun_at
    assert ended_at(ended, SNAPSHOT) == NOW + 3600
    assert ended_at(ended, replace(LATER, ended={ended.attempt_id: NOW - 2})) == NOW - 2
    assert ended_at(replace(ended, finished_at=None), SNAPSHOT) == ended.placed_at


def test_what_runs_has_begun_though_its_launch_was_not_noted() -> None:
    noted = replace(RUNS, launched_at=None)
    assert begun_at(noted, SNAPSHOT, None, None) == RUNS.placed_at
    launched = replace(RUNS, phase=Phase.STARTING)
    assert begun_at(launched, SNAPSHOT, None, None) == NOW - 60


def test_a_start_may_return_half_a_minute_after_what_it_started_began() -> None:
    def begun(before: float) -> float | None:
        up = 900.0 - (60 - 1) - before
        return begun_at(RUNS, SNAPSHOT, LOOK, seen(started_up=up))

    assert begun(30.0) == NOW - 60
    assert begun(30.5) == NOW - 90.5


def test_a_look_that_lacks_one_clock_is_read_by_the_other() -> None:
    work = seen(started_up=600.0, started_at=4000.0)
    assert measured_start(replace(LOOK, up=None), work) == LOOK.asked_at - 1000
    assert measured_start(replace(LOOK, up=None, wall=None), work) is None
    assert measured_start(replace(LOOK, wall=None), seen(started_at=4000.0)) is None
    assert measured_start(None, work) is None
    assert measured_start(LOOK, None) is None


def test_of_an_earlier_daemon_the_wall_clock_of_the_host_counts_too() -> None:
    assert begun_at(RUNS, LATER, LOOK, seen(started_at=4000.0)) == LOOK.asked_at - 1000
