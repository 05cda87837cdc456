"""Services through the planner alone: readiness, restarts, and the GPUs that a replica keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hostler.daemon.run_cache import RunCache
from hostler.decide.index import OpenAttempt
from hostler.decide.lifecycle import unfolded
from hostler.decide.lifecycle.service import LONGEST_PAUSE, Service, failures_in_a_row
from hostler.decide.merging import is_early
from hostler.decide.plan import plan
from hostler.decide.progress import progress_of
from hostler.decide.services import startup_ends
from hostler.decide.slots import PATIENCE
from hostler.model.hosts import Health, Host, HostCondition
from hostler.model.pipelines import Cause, OnLost, Stage
from hostler.model.plans import MarkReady, Release, Snapshot, Start, Stop
from hostler.model.runs import Attempt, Outcome, Phase, StageStatus
from hostler.model.services import HealthCheck
from hostler.model.services import Service as Asked
from tests.support.values import planning as lab
from tests.support.worlds.advance import advance, end_workload

SERVICE = Service()


def serve(replicas: int = 1, gpus: int = 1, **keys: Any) -> tuple[Stage, ...]:
    """The replicas of a service."""
    asked = Asked(HealthCheck("/"), replicas)
    made = lab.stage("serve", gpus=gpus, kind="service", on_lost=OnLost.RESTART, **keys)
    return unfolded([replace(made, service=asked)])


def later(snapshot: Snapshot, seconds: float = 5.0) -> Snapshot:
    """So much later, every host that is up looked at anew, and what runs healthy."""
    now = snapshot.now + seconds
    return replace(snapshot, now=now, hosts=tuple(_seen(host, now) for host in snapshot.hosts))


def _seen(host: Host, now: float) -> Host:
    if host.condition is not HostCondition.UP or host.look is None:
        return host
    works = [w for w in host.look.workloads if w.running]
    health = {w.attempt_id: Health(w.attempt_id, True, 1.0) for w in works}
    look = replace(host.look, asked_at=now - 0.1, up=now, health=health)
    return replace(host, look=look)


def test_no_replica_of_a_run_that_ended_waits() -> None:
    """A release ends when the next one has taken over: whatever its replicas did last, none of
    them is started again, and none is said to wait."""
    tries = [
        lab.attempt(stage=f"serve.{number}", phase=phase, cause=cause, ready_at=1.0)
        for number, (phase, cause) in enumerate(
            [(Phase.CANCELLED, Cause.SUPERSEDED), (Phase.FAILED, Cause.USER_ERROR)]
        )
    ]
    run = lab.run("r-1", *serve(replicas=3), attempts=tries)
    assert set(progress_of(run).status.values()) == {StageStatus.WAITING}
    ended = progress_of(replace(run, outcome=Outcome.SUCCEEDED))
    assert ended.status == {
        "serve.0": StageStatus.CANCELLED,
        "serve.1": StageStatus.FAILED,
        "serve.2": StageStatus.CANCELLED,
    }
    assert ended.notes == {"serve.2": "its run ended before it started"}
    assert not ended.ready
    assert not ended.slots


def step(snapshot: Snapshot, seconds: float = 5.0) -> Snapshot:
    """A plan, its effects, and some seconds."""
    return later(advance(snapshot, plan(snapshot)), seconds)


def _attempts(snapshot: Snapshot) -> tuple[Attempt, ...]:
    return snapshot.runs[0].attempts


def _running() -> Snapshot:
    """A service with one replica that is ready, and a stage that waits for its GPU."""
    snapshot = lab.snapshot(lab.host(cards=1), lab.run("r-1", *serve()))
    snapshot = step(step(snapshot))
    assert _attempts(snapshot)[-1].ready_at is not None
    return replace(snapshot, runs=(*snapshot.runs, lab.run("r-2", owner="bo")))


def test_it_is_ready_by_the_first_good_answer_and_once() -> None:
    snapshot = step(lab.snapshot(lab.host(), lab.run("r-1", *serve())))
    (found,) = lab.of_kind(plan(snapshot).actions, MarkReady)
    assert found.attempt.attempt_id == "r-1-serve.0-1"
    assert lab.of_kind(plan(step(snapshot)).actions, MarkReady) == []


def test_a_silent_host_is_no_failed_check() -> None:
    snapshot = step(step(lab.snapshot(lab.host(), lab.run("r-1", *serve()))))
    (host,) = snapshot.hosts
    assert host.look is not None
    sick = {"r-1-serve.0-1": Health("r-1-serve.0-1", False, 0.0, "HTTP status 500")}
    ill = replace(host, look=replace(host.look, health=sick))
    (stop,) = lab.of_kind(plan(replace(snapshot, hosts=(ill,))).actions, Stop)
    assert stop.cause is Cause.UNHEALTHY
    assert stop.detail.endswith(": HTTP status 500")
    silent = replace(ill, condition=HostCondition.UNREACHABLE, since=snapshot.now)
    assert plan(replace(snapshot, hosts=(silent,))).actions == ()


def test_its_gpu_is_nobody_elses_while_it_is_started_again() -> None:
    snapshot = _running()
    gpus = _attempts(snapshot)[0].gpus
    snapshot = end_workload(snapshot, "r-1-serve.0-1", 1)
    for _ in range(20):
        decided = plan(snapshot)
        assert lab.of_kind(decided.actions, Release) == []
        assert [s.attempt.run_id for s in lab.of_kind(decided.actions, Start)] in ([], ["r-1"])
        snapshot = later(advance(snapshot, decided), 0.3)
    last = _attempts(snapshot)[-1]
    assert (last.number, last.phase, last.gpus) == (2, Phase.RUNNING, gpus)


def test_it_goes_elsewhere_when_its_slot_does_not_become_free() -> None:
    snapshot = _running()
    snapshot = step(end_workload(snapshot, "r-1-serve.0-1", 1), 0.2)
    (host,) = snapshot.hosts
    assert host.look is not None
    (gpu,) = host.look.gpus
    held = replace(gpu, memory_used=gpu.memory_total, processes=(lab.process(),))
    host = replace(host, look=replace(host.look, gpus=(held,)))
    snapshot = replace(snapshot, hosts=(host, lab.host("gpu2", cards=1)))
    snapshot = replace(snapshot, runs=snapshot.runs[:1])
    decided = plan(later(snapshot, 20))
    assert lab.of_kind(decided.actions, Start) == []
    said = decided.reasons["r-1", "serve.0"].sentence
    assert said == "its GPUs are kept for it on gpu1; GPU 0 is not empty yet"
    (start,) = lab.of_kind(plan(later(snapshot, PATIENCE + 1)).actions, Start)
    assert start.attempt.host == "gpu2"


def test_a_cancelled_service_gives_its_gpu_back() -> None:
    snapshot = step(end_workload(_running(), "r-1-serve.0-1", 1), 0.2)
    run = replace(snapshot.runs[0], cancelled_by="ana")
    snapshot = later(replace(snapshot, runs=(run, *snapshot.runs[1:])))
    assert len(lab.of_kind(plan(snapshot).actions, Release)) == 1


@given(st.lists(st.sampled_from([Cause.USER_ERROR, Cause.UNHEALTHY, Cause.HOST_REBOOTED,
                                 Cause.NOT_STARTED]), min_size=1, max_size=30),
       st.integers(0, 40))  # fmt: skip
def test_pauses_grow_up_to_a_limit_and_begin_anew_after_a_healthy_time(
    causes: list[Cause], healthy: int
) -> None:
    (stage,) = serve()
    tries = []
    for number, cause in enumerate(causes, 1):
        ready = 900.0 if number == healthy else None
        tries.append(
            lab.attempt(stage="serve.0", number=number, phase=Phase.FAILED, cause=cause,
                        ready_at=ready, finished_at=2000.0)
        )  # fmt: skip
    until = SERVICE.not_before(stage, tries, 2000.0)
    assert SERVICE.is_tried_again(stage, tries)
    assert until is None or 2000.0 <= until <= 2000.0 + LONGEST_PAUSE
    if causes[-1] is Cause.USER_ERROR and healthy == len(causes):
        assert until == 2001.0
    assert failures_in_a_row(tries) <= len(causes)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_random_faults_never_give_a_slot_away_nor_run_a_replica_twice(data: st.DataObject) -> None:
    hosts = [lab.host(name, cards=2) for name in ("gpu1", "gpu2")]
    runs = (
        lab.run("r-1", *serve(2, lost_after=30.0)),
        lab.run("r-2", lab.stage(gpus=2), owner="bo"),
    )
    snapshot = lab.snapshot(*hosts, *runs)
    for _ in range(data.draw(st.integers(3, 14))):
        snapshot = step(snapshot, data.draw(st.sampled_from([0.3, 5.0, 40.0])))
        _check(snapshot)
        live = [a for a in _attempts(snapshot) if a.phase is Phase.RUNNING]
        fault = data.draw(st.sampled_from(["none", "crash", "silence", "return"]))
        if fault == "crash" and live:
            snapshot = end_workload(snapshot, data.draw(st.sampled_from(live)).attempt_id, 1)
        elif fault in ("silence", "return"):
            name = data.draw(st.sampled_from(["gpu1", "gpu2"]))
            up = HostCondition.UP if fault == "return" else HostCondition.UNREACHABLE
            snapshot = replace(snapshot, hosts=tuple(
                replace(h, condition=up, since=snapshot.now) if h.name == name else h
                for h in snapshot.hosts
            ))  # fmt: skip
            snapshot = later(snapshot, 0.1)
    for name in ("gpu1", "gpu2"):
        snapshot = replace(snapshot, hosts=tuple(
            replace(h, condition=HostCondition.UP, since=snapshot.now) if h.name == name else h
            for h in snapshot.hosts
        ))  # fmt: skip
    for _ in range(30):
        snapshot = step(snapshot, 30.0)
        _check(snapshot)
    for stage in ("serve.0", "serve.1"):
        works = [w for h in snapshot.hosts if h.look is not None for w in h.look.workloads
                 if w.running and f"-{stage}-" in w.attempt_id]  # fmt: skip
        assert len(works) == 1, stage


def _check(snapshot: Snapshot) -> None:
    """No GPU is leased to two attempts, or used by one that does not hold its lease."""
    for host in snapshot.hosts:
        assert host.look is not None
        held = [lease.gpu for lease in host.look.leases]
        assert len(held) == len(set(held)), host.look.leases
        running = [gpu for w in host.look.workloads if w.running for gpu in w.gpus]
        assert len(running) == len(set(running)), host.look.workloads
    live = [a.stage for a in _attempts(snapshot) if a.phase.is_at_work]
    assert len(live) == len(set(live))


def test_the_last_attempts_of_a_replica_are_kept_in_memory_and_earlier_ones_are_no_news() -> None:
    tries = [
        lab.attempt("r1", "serve.0", number=n, phase=Phase.FAILED, cause=Cause.USER_ERROR)
        for n in range(1, 41)
    ]
    run = lab.run("r1", *serve(), attempts=tries)
    cache = RunCache()
    cache.add(run)
    known = cache.run("r1")
    assert [a.number for a in known.attempts] == list(range(21, 41))
    cache.add_attempt(lab.attempt("r1", "serve.0", number=41))
    cache.change_attempt("r1-serve.0-41", phase=Phase.FAILED)
    known = cache.run("r1")
    assert [a.number for a in known.attempts] == list(range(22, 42))
    assert progress_of(known).next_number("serve.0") == 42
    assert is_early(tries[0], known)
    assert not is_early(known.attempts[0], known)


def test_only_a_replica_that_was_launched_and_is_not_ready_has_a_time_to_start() -> None:
    stage, attempt = serve()[0], lab.attempt(stage="serve.0")
    run = lab.run("r-1", stage, attempts=[attempt])
    assert startup_ends(OpenAttempt(run, stage, attempt)) == lab.NOW - 60 + 600
    assert startup_ends(OpenAttempt(run, stage, attempt, since=5.0)) == 605.0
    for other, tried in (
        (lab.stage("serve.0"), attempt),
        (stage, replace(attempt, launched_at=None)),
        (stage, replace(attempt, ready_at=lab.NOW)),
    ):
        assert startup_ends(OpenAttempt(run, other, tried)) is None
