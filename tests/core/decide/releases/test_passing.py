"""What the planner learns of all services: what is held, stopped, ended, and when to look again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.decide.index import Index
from hostler.decide.releases.passing import Released, pass_releases
from hostler.model.pipelines import StageKind
from hostler.model.plans import EndRun, TakeStep
from hostler.model.releases import (
    Deployment,
    GatewayLook,
    Lock,
    Release,
    ReleaseState,
    Server,
    ServerMode,
    ServiceState,
    Slot,
    Step,
    StepKind,
    Strategy,
)
from hostler.model.runs import Attempt, Outcome, Phase, Run
from hostler.model.services import HealthCheck, Service
from tests.support.values import planning as lab

STAGE = lab.stage(
    "serve.0", kind=StageKind.SERVICE, base="serve", service=Service(HealthCheck("/"), startup=40.0)
)
ONE, TWO = ("r1", "serve.0"), ("r2", "serve.0")
LIVE, RETIRED, RESTORED = ReleaseState.LIVE, ReleaseState.RETIRED, ReleaseState.RESTORED


def release(number: int, state: ReleaseState, **changes: Any) -> Release:
    made = Release(
        "web", number, f"r{number}", None, Strategy.SURGE, state, 1, "ana", 1000, lab.NOW - 10.0
    )
    return replace(made, **changes)


def tried(run_id: str, **fields: Any) -> Attempt:
    return lab.attempt(run_id, "serve.0", gpus=(), **fields)


def run(run_id: str, *attempts: Attempt, **fields: Any) -> Run:
    return lab.run(run_id, STAGE, attempts=attempts, **fields)


def web(*releases: Release, replicas: int = 1, **changes: Any) -> ServiceState:
    opened = next((r for r in releases if r.state.is_open), None)
    live = next((r.number for r in releases if r.state is LIVE), None)
    lock = Lock(opened.number, "ana", 1000, 1.0) if opened is not None else None
    return ServiceState(Deployment("web", 1000, "ana", replicas, live, lock), releases, **changes)


def passed(state: ServiceState, *runs: Run, **known: Any) -> Released:
    snapshot = replace(lab.snapshot(lab.host("gpu1"), *runs), services=(state,), **known)
    return pass_releases(Index(snapshot))


RUNS = run("r1"), run("r2")
BUILDS = lab.run("r2", lab.stage("build"), replace(STAGE, needs=("build",)))
DEPLOYING = web(release(1, LIVE), release(2, ReleaseState.DELIVERING))


def test_while_a_step_is_written_down_nothing_starts() -> None:
    found = passed(DEPLOYING, *RUNS)
    (taken,) = found.actions
    assert isinstance(taken, TakeStep)
    assert taken.step.state is ReleaseState.STARTING
    why = "release 2 of web has not reached this step yet"
    assert found.held == {ONE: why, TWO: why}
    again = passed(DEPLOYING, *RUNS, in_flight=frozenset({taken.key}))
    assert (again.actions, again.held) == ([], found.held)


def test_what_no_step_allows_is_held_and_the_rest_may_start() -> None:
    found = passed(DEPLOYING, run("r1"), BUILDS)
    why = "waits for build (waiting)"
    assert (found.held, found.slots, found.reasons) == ({TWO: why}, {ONE}, {"web": why})
    assert (found.actions, found.draining) == ([], set())
    stopped = passed(web(release(1, LIVE), replicas=0), run("r1"))
    assert stopped.held == {ONE: "0 replicas of web are wanted"}
    assert (stopped.slots, stopped.reasons) == (set(), {})


def test_nothing_is_decided_while_hosts_may_have_newer_notes() -> None:
    unsure = {"unsure": frozenset({"gpu2"}), "restored": frozenset({"r2"})}
    found = passed(DEPLOYING, *RUNS, **unsure)
    why = "waits for the notes of hosts since the backup"
    assert (found.actions, found.reasons, set(found.held)) == ([], {"web": why}, {ONE, TWO})
    assert passed(DEPLOYING, *RUNS, **{**unsure, "restored": frozenset({"r9"})}).actions
    assert passed(DEPLOYING, *RUNS, **{**unsure, "unsure": frozenset()}).actions


@pytest.mark.parametrize(
    ("state", "cancelled_by", "outcome"),
    [
        (RETIRED, None, Outcome.SUCCEEDED),
        (RETIRED, "ana", Outcome.SUCCEEDED),
        (RESTORED, None, Outcome.FAILED),
        (RESTORED, "ana", Outcome.CANCELLED),
        (ReleaseState.FAILED, "ana", None),
    ],
)
def test_the_run_of_a_release_that_is_over_ends_once_nothing_of_it_runs(
    state: ReleaseState, cancelled_by: str | None, outcome: Outcome | None
) -> None:
    services = web(release(1, LIVE), release(2, state))
    ended = tried("r2", phase=Phase.FAILED)
    over = run("r2", ended, cancelled_by=cancelled_by)
    found = [a for a in passed(services, run("r1"), over).actions if isinstance(a, EndRun)]
    assert found == ([] if outcome is None else [EndRun("r2", outcome)])
    left = replace(over, attempts=(replace(ended, phase=Phase.RUNNING),))
    actions = passed(services, run("r1"), left).actions
    assert not [action for action in actions if isinstance(action, EndRun)]
    # A run that is not known any more is not in the way of the others.
    both = replace(services, releases=(release(3, RETIRED), *services.releases))
    found = [a for a in passed(both, run("r1"), over).actions if isinstance(a, EndRun)]
    assert bool(found) is (outcome is not None)


def test_without_a_look_every_attempt_may_be_at_the_gateway() -> None:
    tries = tried("r1"), tried("r2")
    runs = run("r1", tries[0]), run("r2", tries[1])
    silent = replace(DEPLOYING, is_direct=False)
    assert passed(silent, *runs).at_gateway == {each.attempt_id for each in tries}
    assert passed(silent, *runs).draining == {"r2"}
    look = GatewayLook(lab.NOW, {"a": Server(ServerMode.READY, is_up=True)})
    heard = passed(replace(silent, gateway=look), runs[0], BUILDS)
    assert heard.at_gateway == {"a"}
    assert heard.servers == {"web": {}}
    direct = passed(DEPLOYING, *runs)
    assert (direct.at_gateway, direct.draining, direct.servers) == (set(), set(), {})


def test_a_replica_that_comes_in_the_place_of_another_has_its_attempts_before() -> None:
    first, second = tried("r1", placed_at=5.0), tried("r2", placed_at=9.0)
    steps = (
        Step("web", 2, 1.0, StepKind.STATE, ReleaseState.STARTING, seq=1),
        Step("web", 2, 2.0, StepKind.DRAIN, None, Slot(1, 0), Slot(2, 0), seq=2),
    )
    opened = release(2, ReleaseState.STARTING, strategy=Strategy.RECREATE)
    state = web(release(1, LIVE), opened, steps=steps)
    assert passed(state, run("r1", first), run("r2", second)).heirs == {TWO: (first, second)}
    assert passed(state, run("r1"), run("r2", second)).heirs == {TWO: (second,)}
    assert passed(state, *RUNS).heirs == {}
    assert passed(replace(state, steps=steps[:1]), run("r1", first), run("r2")).heirs == {}


def test_the_earliest_moment_of_any_service_is_the_next_to_look() -> None:
    services = [
        replace(
            web(release(1, LIVE), release(2, ReleaseState.STARTING)),
            deployment=Deployment(name, 1000, "ana", 1, 1, Lock(2, "ana", 1000, 1.0)),
            releases=(
                release(1, LIVE, service=name, run_id=f"{name}1"),
                release(2, ReleaseState.STARTING, service=name, run_id=f"{name}2", surge=1),
            ),
            steps=(Step(name, 2, 1.0, StepKind.STATE, ReleaseState.STARTING, seq=1),),
        )
        for name in ("a", "b", "c")
    ]
    runs = [
        run(f"{name}{number}", *([tried(f"{name}2", launched_at=lab.NOW - age)] if age else []))
        for name, age in (("a", 10.0), ("b", 30.0), ("c", 20.0))
        for number, age in ((1, 0.0), (2, age))
    ]
    snapshot = replace(lab.snapshot(lab.host("gpu1"), *runs), services=tuple(services))
    assert pass_releases(Index(snapshot)).wake_at == lab.NOW - 30.0 + 40.0
    assert passed(web(release(1, LIVE), replicas=0)).wake_at is None
