"""A service and a build, as toy kinds, through the planner alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hostler.decide.lifecycle import unfolded
from hostler.decide.plan import plan
from hostler.decide.progress import progress_of
from hostler.model.pipelines import Cause, Retries
from hostler.model.plans import Action, EndRun, Finish, Record, Resume, Snapshot, Start, Stop
from hostler.model.runs import Outcome, Phase, StageStatus
from tests.support.values import planning as lab
from tests.support.values.toykinds import toy_kinds
from tests.support.worlds.advance import advance, end_workload


@pytest.fixture(autouse=True)
def _kinds() -> Iterator[None]:
    with toy_kinds():
        yield


def _step(snapshot: Snapshot) -> tuple[list[Action], Snapshot]:
    """A plan's actions, and the snapshot five seconds after they took effect, looked at anew."""
    decided = plan(snapshot)
    after = advance(snapshot, decided)
    now = snapshot.now + 5.0
    hosts = tuple(lab.with_look(host, asked_at=now - 0.1) for host in after.hosts)
    return list(decided.actions), replace(after, now=now, hosts=hosts)


def _ready(snapshot: Snapshot, stage: str) -> Snapshot:
    """The same, with a service that says that it is ready."""
    run = snapshot.runs[0]
    attempts = tuple(
        replace(a, metrics={"ready": 1.0}) if a.stage == stage else a for a in run.attempts
    )
    return replace(snapshot, runs=(replace(run, attempts=attempts), *snapshot.runs[1:]))


def _started(actions: list[Action]) -> list[str]:
    return [a.stage.name for a in lab.of_kind(actions, Start)]


def test_what_needs_a_service_goes_once_it_is_ready_and_the_run_stays_open() -> None:
    serve, load = lab.stage("serve", gpus=1, kind="forever"), lab.stage("load", needs=("serve",))
    actions, snapshot = _step(lab.snapshot(lab.host(), lab.run("r-1", serve, load)))
    assert _started(actions) == ["serve"]
    actions, snapshot = _step(snapshot)
    assert _started(actions) == []
    assert plan(snapshot).reasons["r-1", "load"].sentence == "waits for serve (running)"
    actions, snapshot = _step(_ready(snapshot, "serve"))
    assert _started(actions) == ["load"]
    snapshot = end_workload(snapshot, "r-1-load-1")
    for _ in range(5):
        actions, snapshot = _step(snapshot)
        assert not lab.of_kind(actions, EndRun)
    status = progress_of(snapshot.runs[0]).status
    assert status == {"serve": StageStatus.RUNNING, "load": StageStatus.SUCCEEDED}


def test_a_service_that_ends_is_replaced_and_nobody_who_needed_it_is_stopped() -> None:
    serve = lab.stage("serve", gpus=1, kind="forever", retries=Retries(backoff=1.0))
    load = lab.stage("load", needs=("serve",))
    _, snapshot = _step(lab.snapshot(lab.host(), lab.run("r-1", serve, load)))
    _, snapshot = _step(_ready(snapshot, "serve"))
    snapshot = end_workload(snapshot, "r-1-serve-1", exit_code=0)
    started: list[str] = []
    for _ in range(4):
        actions, snapshot = _step(snapshot)
        assert not lab.of_kind(actions, Stop)
        started += [s.attempt.attempt_id for s in lab.of_kind(actions, Start)]
    assert started == ["r-1-serve-2"]
    first = next(a for a in snapshot.runs[0].attempts if a.stage == "serve")
    assert (first.phase, first.cause) == (Phase.FAILED, Cause.USER_ERROR)


def test_a_replica_that_fails_ends_no_other() -> None:
    template = lab.stage("serve", gpus=1, kind="forever", env={"REPLICAS": "2"})
    snapshot = lab.snapshot(lab.host(), lab.run("r-1", *unfolded([template])))
    actions, snapshot = _step(snapshot)
    assert _started(actions) == ["serve.0", "serve.1"]
    snapshot = end_workload(snapshot, "r-1-serve.0-1", exit_code=3)
    for _ in range(4):
        actions, snapshot = _step(snapshot)
        assert not lab.of_kind(actions, Stop)
    running = {a.attempt_id for a in snapshot.runs[0].attempts if not a.phase.is_final}
    assert running == {"r-1-serve.0-2", "r-1-serve.1-1"}


def test_a_service_ends_with_its_run() -> None:
    run = lab.run("r-1", lab.stage("serve", gpus=1, kind="forever"))
    _, snapshot = _step(lab.snapshot(lab.host(), run))
    cancelled = replace(snapshot.runs[0], cancelled_by="ana")
    snapshot = replace(snapshot, runs=(cancelled,))
    ends: list[EndRun] = []
    for _ in range(5):
        actions, snapshot = _step(snapshot)
        ends += lab.of_kind(actions, EndRun)
    assert [end.outcome for end in ends] == [Outcome.CANCELLED]


def test_a_build_has_nothing_on_its_host_and_what_needs_it_waits_for_its_end() -> None:
    run = lab.run("r-1", lab.stage("image", kind="build"), lab.stage("train", needs=("image",)))
    actions, snapshot = _step(lab.snapshot(lab.host(), run))
    assert _started(actions) == ["image"]
    host = snapshot.hosts[0]
    assert host.look is not None
    assert host.look.workloads == ()
    actions, snapshot = _step(snapshot)
    assert _started(actions) == ["train"]


def _building(**fields: object) -> Snapshot:
    attempt = lab.attempt(stage="image", gpus=())
    run = lab.run("r-1", lab.stage("image", kind="build"), attempts=[attempt])
    return replace(lab.snapshot(lab.host(), run), **fields)  # type: ignore[arg-type]


def test_a_build_that_nobody_works_at_is_taken_up_again() -> None:
    at_work = _building(in_flight=frozenset({"start:r-1-image-1"}))
    assert plan(at_work).actions == ()
    (action,) = plan(_building()).actions
    assert isinstance(action, Resume)


def test_a_build_on_a_silent_host_waits() -> None:
    snapshot = _building()
    silent = replace(snapshot, now=snapshot.now + 60.0)
    assert plan(silent).actions == ()


def test_a_build_that_is_not_wanted_ends_while_it_is_worked_at() -> None:
    snapshot = _building(in_flight=frozenset({"start:r-1-image-1"}))
    run = replace(snapshot.runs[0], cancelled_by="ana")
    (action,) = plan(replace(snapshot, runs=(run,))).actions
    assert isinstance(action, Record)
    assert (action.phase, action.cause, action.detail) == (
        Phase.CANCELLED, Cause.STOPPED, "by ana",
    )  # fmt: skip


def test_a_build_that_takes_too_long_has_failed() -> None:
    snapshot = _building(in_flight=frozenset({"start:r-1-image-1"}))
    run = snapshot.runs[0]
    timed = replace(run, stages=(replace(run.stages[0], timeout=30.0),))
    (action,) = plan(replace(snapshot, runs=(timed,))).actions
    assert isinstance(action, Record)
    assert (action.phase, action.cause) == (Phase.FAILED, Cause.TIME_LIMIT)


def test_a_task_is_finished_as_before() -> None:
    _, snapshot = _step(lab.snapshot(lab.host(), lab.run("r-1", lab.stage())))
    actions, _ = _step(end_workload(snapshot, "r-1-train-1"))
    assert lab.of_kind(actions, Finish)
