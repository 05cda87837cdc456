"""What the rules learn of a service from runs, attempts and looks at hosts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.decide.index import Index
from hostler.decide.releases.seen import Seen, slot_index
from hostler.decide.releases.situation import Replica, Situation
from hostler.model.hosts import Health, Host, HostCondition
from hostler.model.pipelines import Cause
from hostler.model.releases import (
    Deployment,
    Release,
    ReleaseState,
    ServiceState,
    Slot,
    Strategy,
)
from hostler.model.runs import Attempt, Phase, Run
from hostler.model.services import HealthCheck, Service
from tests.support.values import planning as lab

SERVICE = Service(HealthCheck("/"), startup=40.0, drain=20.0)
STAGE = lab.stage("serve.0", kind="service", base="serve", service=SERVICE)
LAUNCHED = lab.NOW - 60


def tried(number: int = 1, run_id: str = "r1", **fields: Any) -> Attempt:
    return lab.attempt(run_id, "serve.0", number, gpus=(), **fields)


ANSWERS = tried(ready_at=lab.NOW - 50)


def seen(
    *parts: Attempt | Host | Run, health: Health | None = None, asked_at: float = lab.NOW - 0.5,
    **known: Any,
) -> Situation:  # fmt: skip
    """Of the live release 1 (run r1, with these attempts), and of release 2 (run r2), which is
    open. Another host or run takes the place of the one with its name."""
    tries = [part for part in parts if isinstance(part, Attempt)]
    look = {"health": {} if health is None else {health.attempt_id: health}, "up": 500.0}
    hosts = [part for part in parts if isinstance(part, Host)]
    runs = {"r1": lab.run("r1", STAGE, attempts=tries), "r2": lab.run("r2", STAGE)}
    runs |= {part.run_id: part for part in parts if isinstance(part, Run)}
    releases = tuple(
        Release("web", n, f"r{n}", None, Strategy.SURGE, state, 1, "ana", 1000, 1.0)
        for n, state in ((1, ReleaseState.LIVE), (2, ReleaseState.DELIVERING))
    )
    state = ServiceState(Deployment("web", 1000, "ana", 1, live=1), releases)
    found = hosts or [lab.host("gpu1", asked_at=asked_at, look=look)]
    index = Index(replace(lab.snapshot(*found, *runs.values()), services=(state,), **known))
    return Seen(state, index).situation()


def healthy(attempt: Attempt, *, ok: bool = True, **fields: Any) -> Health:
    return Health(attempt.attempt_id, ok, **{"since": 400.0, **fields})


def only(found: Situation) -> Replica:
    (replica,) = found.replicas
    return replica


def test_a_replica_that_answers() -> None:
    assert only(seen(ANSWERS, health=healthy(ANSWERS))) == Replica(
        Slot(1, 0), ANSWERS.attempt_id, "gpu1", LAUNCHED, True, True, True
    )


def test_what_has_not_answered_since_its_launch_is_not_healthy_whatever_its_host_says() -> None:
    new = tried()
    found = only(seen(new, health=healthy(new)))
    assert (found.has_answered, found.is_healthy) == (False, False)


def test_a_bad_check_is_said_in_one_line() -> None:
    found = only(seen(ANSWERS, health=healthy(ANSWERS, ok=False, said="HTTP\nstatus 503" * 50)))
    assert (found.has_answered, found.is_healthy) == (True, False)
    assert found.said.startswith("HTTP status 503")
    assert len(found.said) <= 200
    assert not only(seen(ANSWERS)).is_healthy  # no check is no good one


@pytest.mark.parametrize(("asked_at", "counts"), [(-60.5, False), (-60.0, False), (-59.5, True)])
def test_a_look_proves_nothing_about_what_was_launched_after_it(
    asked_at: float, counts: bool
) -> None:
    found = seen(
        ANSWERS, health=healthy(ANSWERS), asked_at=lab.NOW + asked_at,
        policy=replace(lab.snapshot().policy, fresh_for=100.0),
    )  # fmt: skip
    assert only(found).is_healthy is counts


def test_of_what_is_being_launched_any_look_counts() -> None:
    starting = tried(phase=Phase.STARTING)
    assert only(seen(starting, health=healthy(starting, ok=False, said="no"))).said == "no"


@pytest.mark.parametrize(
    ("condition", "is_silent"),
    [
        (HostCondition.UP, False),
        (HostCondition.CONNECTING, False),
        (HostCondition.UNREACHABLE, True),
        (HostCondition.REFUSED, True),
    ],
)
def test_a_host_that_was_not_asked_yet_is_not_silent(
    condition: HostCondition, is_silent: bool
) -> None:
    found = only(seen(ANSWERS, lab.host("gpu1", condition=condition)))
    assert (found.is_silent, found.is_heard) == (is_silent, condition is HostCondition.UP)


def test_a_host_that_is_no_longer_in_the_config_is_silent() -> None:
    found = only(seen(ANSWERS, lab.host("gpu2")))
    assert (found.is_silent, found.is_heard) == (True, False)


def test_the_last_attempt_of_a_slot_is_its_replica_while_it_is_at_work() -> None:
    first = tried(1, phase=Phase.FAILED, finished_at=lab.NOW - 200)
    second = tried(2)
    assert only(seen(first, second)).attempt_id == second.attempt_id
    assert seen(first, second).ended == {}
    assert seen(first).replicas == ()
    assert seen(first).ended == {Slot(1, 0): lab.NOW - 200}


@pytest.mark.parametrize(
    ("tries", "since"),
    [
        ([], None),
        ([tried(phase=Phase.STARTING)], None),
        ([tried()], LAUNCHED),
        ([tried(1, phase=Phase.FAILED, launched_at=100.0), tried(2)], 100.0),
        ([ANSWERS], lab.NOW),  # no check says otherwise
        ([tried(phase=Phase.FAILED, ready_at=100.0, finished_at=300.0)], 300.0),
        (
            [tried(1, phase=Phase.FAILED, ready_at=100.0, finished_at=300.0), tried(2)], 300.0,
        ),
    ],
)  # fmt: skip
def test_a_slot_is_waited_for_from_its_first_launch_or_its_last_answer(
    tries: list[Attempt], since: float | None
) -> None:
    assert seen(*tries).waits == ({} if since is None else {Slot(1, 0): since})


@pytest.mark.parametrize(
    ("health", "since"),
    [
        (healthy(ANSWERS), lab.NOW),
        (healthy(ANSWERS, ok=False, since=470.0), lab.NOW - 0.5 - 30.0),
        (healthy(ANSWERS, ok=False, since=900.0), lab.NOW - 0.5),  # the host's clock is wrong
    ],
)
def test_since_when_a_replica_fails_is_said_by_its_hosts_own_clock(
    health: Health, since: float
) -> None:
    assert seen(ANSWERS, health=health).waits == {Slot(1, 0): since}


def test_times_of_its_service_are_those_of_its_file() -> None:
    found = seen()
    assert (found.startups, found.drains) == ({1: 40.0, 2: 40.0}, {1: 20.0, 2: 20.0})
    assert (found.startup_of(2), found.startup_of(3)) == (40.0, 600.0)
    assert (found.drain_of(2), found.drain_of(3)) == (20.0, 30.0)
    assert seen(lab.run("r2", lab.stage("train"))).startups == {1: 40.0}


def test_a_release_waits_for_what_its_service_needs() -> None:
    needs = replace(STAGE, needs=("build",))
    assert seen().not_delivered == ""
    waits = lab.run("r2", lab.stage("build"), needs)
    assert seen(waits).not_delivered == "waits for build (waiting)"
    built = lab.attempt("r2", "build", gpus=(), phase=Phase.SUCCEEDED)
    assert seen(replace(waits, attempts=(built,))).not_delivered == ""


def fails(times: int, **fields: Any) -> list[Attempt]:
    return [
        tried(
            number, "r2", phase=Phase.FAILED, cause=Cause.USER_ERROR, detail="exit code 1", **fields
        )
        for number in range(1, times + 1)
    ]


RUN = lab.run("r2", STAGE)


@pytest.mark.parametrize(
    ("run", "trouble"),
    [
        (RUN, ""),
        (replace(RUN, run_id="r3"), ""),
        (replace(RUN, cancelled_by="bo"), "bo stopped it"),
        (lab.run("r2", lab.stage("train")), "its run r2 has no service"),
        (replace(RUN, attempts=tuple(fails(2))), ""),
        (replace(RUN, attempts=tuple(fails(3))), "serve.0 failed 3 times on gpu1: exit code 1"),
        (
            replace(RUN, attempts=(*fails(3), tried(4, "r2"))),
            "serve.0 failed 3 times on gpu1: exit code 1",
        ),
        (replace(RUN, attempts=tuple(fails(3, ready_at=5.0, finished_at=6.0))), ""),
    ],
)
def test_why_a_release_cannot_succeed(run: Run, trouble: str) -> None:
    assert seen(run).trouble == trouble


def test_a_release_whose_build_failed_cannot_succeed() -> None:
    needs = replace(STAGE, needs=("build",))
    built = lab.attempt("r2", "build", gpus=(), phase=Phase.FAILED, cause=Cause.USER_ERROR)
    run = lab.run("r2", lab.stage("build"), needs, attempts=(built,))
    assert "build" in seen(run).trouble


def test_a_release_whose_run_is_over_cannot_succeed() -> None:
    state = ServiceState(
        Deployment("web", 1000, "ana", 1),
        (
            Release(
                "web", 2, "r2", None, Strategy.SURGE, ReleaseState.STARTING, 1, "ana", 1000, 1.0
            ),
        ),
    )
    index = Index(replace(lab.snapshot(lab.host()), services=(state,)))
    assert Seen(state, index).situation().trouble == "its run r2 has ended"


@pytest.mark.parametrize(
    ("stage", "index"), [("serve.0", 0), ("serve.12", 12), ("serve", -1), ("serve.x", -1)]
)
def test_the_number_of_a_replica_is_in_the_name_of_its_stage(stage: str, index: int) -> None:
    assert slot_index(stage) == index
