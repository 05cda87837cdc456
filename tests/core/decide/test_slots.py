"""Whose leases stay for the next attempt of a replica, and which attempts a release stops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.base.units import GIB
from hostler.decide.index import Index, OpenAttempt
from hostler.decide.plan import plan
from hostler.decide.slots import MOST_BEFORE, PATIENCE, attempts_before, keeps, slot_host
from hostler.decide.stop_reasons import StopReason, stop_reason_for
from hostler.model.hosts import Host, HostCondition
from hostler.model.pipelines import Cause, Stage, StageKind
from hostler.model.plans import Ailment, Start
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


def kept_on(*tries: Attempt, stage: Stage = STAGE, **known: Any) -> str | None:
    """The host on which the GPUs of a replica with these attempts are kept."""
    hosts = known.pop("hosts", (lab.host(),))
    run = lab.run("r1", stage, attempts=tries)
    index = Index(replace(lab.snapshot(*hosts, run), **known))
    return slot_host(index.progress["r1"], stage, index)


@pytest.mark.parametrize(
    ("last", "is_kept"),
    [
        (CRASHED, True),
        (replace(CRASHED, cause=Cause.NOT_STARTED), True),
        (replace(CRASHED, cause=Cause.GPU_LOST), False),
        (replace(CRASHED, cause=Cause.HOST_FAULT), False),
        (replace(CRASHED, cause=Cause.HOST_REBOOTED), False),
        (replace(CRASHED, gpus=()), False),
        (replace(CRASHED, phase=Phase.LOST), False),
        (replace(CRASHED, ready_at=None), False),  # it has never answered
    ],
)
def test_which_ends_leave_a_replica_its_gpus(last: Attempt, is_kept: bool) -> None:
    assert (kept_on(last) is not None) is is_kept


def test_gpus_are_kept_only_on_a_host_that_takes_work() -> None:
    assert kept_on(CRASHED) == "gpu1"
    assert kept_on(CRASHED, hosts=(lab.host(drained="fans"),)) is None
    assert kept_on(CRASHED, hosts=(lab.host("gpu2"),)) is None
    ailment = Ailment("no space", lab.NOW, 60.0, lab.NOW + 60)
    assert kept_on(CRASHED, ailing={("gpu1", "process"): ailment}) is None
    assert kept_on(CRASHED, ailing={("gpu1", "docker"): ailment}) == "gpu1"


def test_gpus_are_kept_for_a_time_from_the_last_run() -> None:
    old = replace(CRASHED, finished_at=lab.NOW - PATIENCE + 1)
    assert kept_on(old) == "gpu1"
    assert kept_on(replace(old, finished_at=lab.NOW - PATIENCE)) is None
    refused = replace(tried(number=2, phase=Phase.FAILED, cause=Cause.NOT_STARTED), ready_at=None)
    assert kept_on(old, refused) == "gpu1"
    assert kept_on(replace(old, finished_at=lab.NOW - PATIENCE), refused) is None
    assert (
        kept_on(
            replace(old, finished_at=5.0),
            begun_at=lab.NOW - PATIENCE + 1,
            earlier=frozenset({old.attempt_id}),
        )
        == "gpu1"
    )


def test_on_a_silent_host_gpus_are_kept_as_long_as_its_stage_says() -> None:
    stage = replace(STAGE, lost_after=100.0)
    for ago, is_kept in ((99.0, True), (100.0, False)):
        silent = lab.host(
            condition=HostCondition.UNREACHABLE, since=lab.NOW - 20, asked_at=lab.NOW - ago
        )
        old = replace(CRASHED, finished_at=lab.NOW - 300)
        assert (kept_on(old, stage=stage, hosts=(silent,)) is not None) is is_kept
        unseen = replace(silent, look=None, since=lab.NOW - ago)
        assert (kept_on(old, stage=stage, hosts=(unseen,)) is not None) is is_kept


@pytest.mark.parametrize(
    ("lease", "why"),
    [
        ({}, "its GPUs on gpu1 were kept for it"),
        ({"stale": True}, None),
        ({"daemon_id": lab.OTHER}, None),
        ({"attempt_id": "r9-serve.0-1"}, None),
    ],
)
def test_a_replica_starts_on_the_gpus_that_are_leased_to_it(
    lease: dict[str, Any], why: str | None
) -> None:
    ended = replace(CRASHED, gpus=("GPU-gpu1-2",))
    held = replace(lab.lease(ended, "GPU-gpu1-2"), **lease)
    snapshot = lab.snapshot(
        lab.host(look={"leases": (held,)}), lab.run("r1", STAGE, attempts=(ended,))
    )
    (start,) = lab.of_kind(plan(snapshot).actions, Start)
    assert (start.why == why) is (why is not None)
    assert (start.attempt.gpus == ended.gpus) is (why is not None)


def test_what_is_kept_for_a_replica_is_no_room_for_others() -> None:
    """It needs no RAM, so that all of it is left for another stage."""
    held = lab.lease(CRASHED, CRASHED.gpus[0])
    host = lab.host(look={"leases": (held,)}, memory=64 * GIB, cpus=4)
    asks = replace(STAGE, resources=replace(STAGE.resources, cpus=3))
    waits = replace(CRASHED, finished_at=lab.NOW - 0.2)  # and pauses
    other = lab.run("r2", lab.stage("train", cpus=2, ram=64 * GIB))
    taken = plan(lab.snapshot(host, lab.run("r1", asks, attempts=(waits,)), other))
    assert [s.attempt.run_id for s in lab.of_kind(taken.actions, Start)] == []
    small = replace(asks, resources=replace(STAGE.resources, cpus=2))
    left = plan(lab.snapshot(host, lab.run("r1", small, attempts=(waits,)), other))
    assert [s.attempt.run_id for s in lab.of_kind(left.actions, Start)] == ["r2"]


WAITS = "its GPUs are kept for it on gpu1"
ENDED = replace(CRASHED, cause=Cause.ENGINE_RESTARTED)
HELD = {"leases": (lab.lease(ENDED, ENDED.gpus[0]),)}
BUSY = lab.run("r2", lab.stage("train", cpus=2), attempts=(lab.attempt("r2", gpus=()),))


@pytest.mark.parametrize(
    ("host", "ended", "why"),
    [
        (
            lab.host(look=HELD, condition=HostCondition.UNREACHABLE, since=lab.NOW - 20),
            ENDED,
            f"{WAITS}, which does not answer; after 2m it moves to another host",
        ),
        (
            lab.host(look=HELD),
            replace(ENDED, finished_at=lab.NOW - 0.5),
            f"{WAITS}; waits for the next update of its state",
        ),
        (lab.host(look=HELD, cpus=4), ENDED, f"{WAITS}; waits for CPUs and RAM there"),
        (lab.host(look=HELD, cpus=5), ENDED, None),
    ],
)
def test_what_a_replica_waits_for_whose_gpus_are_kept(
    host: Host, ended: Attempt, why: str | None
) -> None:
    asks = replace(STAGE, lost_after=120.0, resources=replace(STAGE.resources, cpus=3))
    found = plan(lab.snapshot(host, lab.run("r1", asks, attempts=(ended,)), BUSY))
    reason = found.reasons.get(("r1", "serve.0"))
    assert (None if reason is None else reason.sentence) == why
    assert bool(lab.of_kind(found.actions, Start)) is (why is None)
