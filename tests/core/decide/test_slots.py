"""Whose leases stay for the next attempt of a replica, and which attempts a release stops."""

from __future__ import annotations

from typing import Any

import pytest

from hostler.decide.index import Index, OpenAttempt
from hostler.decide.slots import MOST_BEFORE, attempts_before, keeps
from hostler.decide.stop_reasons import StopReason, stop_reason_for
from hostler.model.pipelines import Cause, StageKind
from hostler.model.runs import Attempt, Phase
from hostler.model.services import HealthCheck, Service
from tests.support.values import planning as lab

STAGE = lab.stage(
    "serve.0", kind=StageKind.SERVICE, base="serve", gpus=1, service=Service(HealthCheck("/"))
)


def tried(run_id: str = "r1", number: int = 1, **fields: Any) -> Attempt:
    return lab.attempt(run_id, "serve.0", number, **fields)


def index_of(*tries: Attempt, **fields: Any) -> Index:
    runs = {
        attempt.run_id: [each for each in tries if each.run_id == attempt.run_id]
        for attempt in tries
    }
    made = [lab.run(run_id, STAGE, attempts=found, **fields) for run_id, found in runs.items()]
    return Index(lab.snapshot(lab.host(), *made))


CRASHED = tried(phase=Phase.FAILED, cause=Cause.USER_ERROR, ready_at=lab.NOW - 50)


def test_the_lease_of_a_replica_that_crashed_stays() -> None:
    index = index_of(CRASHED)
    assert keeps(lab.lease(CRASHED, CRASHED.gpus[0]), index)
    index.held = {("r1", "serve.0"): "not wanted"}
    assert not keeps(lab.lease(CRASHED, CRASHED.gpus[0]), index)
    index.slots = frozenset({("r1", "serve.0")})
    assert keeps(lab.lease(CRASHED, CRASHED.gpus[0]), index)
    assert not keeps(lab.lease("r9-serve.0-1", CRASHED.gpus[0]), index)


def test_the_lease_of_a_replica_passes_to_the_one_in_its_place_only() -> None:
    other = tried("r2", phase=Phase.FAILED, cause=Cause.USER_ERROR, host="gpu1", gpus=(1,))
    index = index_of(CRASHED, other)
    index.held = {("r1", "serve.0"): "not wanted"}
    index.heirs = {("r2", "serve.0"): (other,)}
    assert not keeps(lab.lease(CRASHED, CRASHED.gpus[0]), index)
    index.heirs = {("r2", "serve.0"): (CRASHED, other)}
    assert keeps(lab.lease(CRASHED, CRASHED.gpus[0]), index)


@pytest.mark.parametrize(
    ("fields", "is_kept"),
    [
        ({"phase": Phase.STARTING}, True),
        ({"phase": Phase.COLLECTING}, True),
        ({"phase": Phase.STARTING, "gpus": (1,)}, False),
        ({"phase": Phase.STARTING, "host": "gpu2", "gpus": (0,)}, False),
    ],
)
def test_while_the_next_attempt_starts_the_lease_stays_where_it_takes_it(
    fields: dict[str, Any], is_kept: bool
) -> None:
    index = index_of(CRASHED, tried(number=2, **fields))
    assert keeps(lab.lease(CRASHED, CRASHED.gpus[0]), index) is is_kept


@pytest.mark.parametrize(("phase", "is_kept"), [(Phase.STARTING, True), (Phase.COLLECTING, False)])
def test_a_run_that_is_cancelled_keeps_only_what_still_runs(phase: Phase, is_kept: bool) -> None:
    index = index_of(CRASHED, tried(number=2, phase=phase), cancelled_by="ana")
    assert keeps(lab.lease(CRASHED, CRASHED.gpus[0]), index) is is_kept


def test_only_ended_attempts_of_the_slot_on_the_same_host_were_before() -> None:
    tries = [tried(number=n, phase=Phase.FAILED) for n in range(1, MOST_BEFORE + 6)]
    elsewhere = tried(number=90, phase=Phase.FAILED, host="gpu2")
    other = lab.attempt("r1", "serve.1", 91, phase=Phase.FAILED)
    now = tried(number=92)
    run = lab.run("r1", STAGE, attempts=[*tries, elsewhere, other, now])
    assert attempts_before(now, run) == tuple(a.attempt_id for a in tries[5:])


def test_a_release_stops_the_attempts_that_it_names_and_no_others() -> None:
    tries = tried("r1"), tried("r2")
    index = index_of(*tries)
    index.leaving = {tries[0].attempt_id: "release 2 takes over"}
    found = [
        stop_reason_for(OpenAttempt(index.progress[a.run_id].run, STAGE, a), index) for a in tries
    ]
    assert found == [StopReason(Cause.SUPERSEDED, "release 2 takes over"), None]
