"""A plan's effects, as if they happened at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import assert_never

from hostler.decide.causes import conclude, conclude_uncollected
from hostler.decide.lifecycle import lifecycle_of
from hostler.model.hosts import Gpu, Host, Lease, Look, Workload
from hostler.model.pipelines import Scalar
from hostler.model.plans import (
    Action,
    Conclude,
    EndRun,
    EndService,
    Finish,
    MarkReady,
    Plan,
    Record,
    Release,
    Remove,
    Resume,
    SendWarning,
    Snapshot,
    Start,
    Stop,
    TakeStep,
)
from hostler.model.runs import Attempt, Phase, Run
from hostler.model.service_wishes import ServiceWish
from tests.support.worlds.advance_services import with_step

TERM_EXIT = 143
"""128 + SIGTERM: how a workload ends that was stopped."""


def advance(snapshot: Snapshot, plan: Plan) -> Snapshot:
    """The snapshot after every action of the plan has taken effect, at the same time.

    Starts run, or are bound, with lease and workload in their host's look; what the daemon does
    itself is done at once; stops have ended their workload; recorded ends are recorded; ended runs
    are gone. The looks keep their time: the caller moves
    `now` and refreshes them.
    """
    for action in plan.actions:
        snapshot = _apply(snapshot, action)
    return snapshot


def end_workload(
    snapshot: Snapshot, attempt_id: str, exit_code: int = 0, duration: float | None = None
) -> Snapshot:
    """The snapshot after a running workload has ended by itself: processes gone, memory back."""

    def ended(workload: Workload) -> Workload:
        began = workload.started_at
        finish = None if began is None or duration is None else began + duration
        return replace(workload, running=False, exit_code=exit_code, finished_at=finish)

    return _with_hosts(snapshot, lambda look: _end_in(look, attempt_id, ended))


def _apply(snapshot: Snapshot, action: Action) -> Snapshot:
    match action:
        case Start(attempt=attempt, stage=stage) | Resume(attempt=attempt, stage=stage):
            if lifecycle_of(stage).has_workload:
                return _launch(snapshot, attempt, until_bound=action.until_bound)
            return _placed(snapshot, replace(attempt, phase=Phase.SUCCEEDED))
        case Record(attempt_id=attempt_id):
            return _with_attempt(snapshot, attempt_id, lambda a: _recorded(a, action, snapshot.now))
        case Finish(attempt=attempt):
            params = next(r.params for r in snapshot.runs if r.run_id == attempt.run_id)
            return _with_attempt(
                snapshot, attempt.attempt_id, lambda a: _ended(a, action, params, snapshot.now)
            )
        case Conclude(attempt=attempt, stage=stage):
            missing = [name for name in stage.outputs if name not in attempt.outputs]
            ended = conclude_uncollected(attempt, missing, action.why, is_lost=action.is_lost)
            record = Record(attempt.attempt_id, *ended)
            return _with_attempt(snapshot, attempt.attempt_id, lambda a: _closed(a, record))
        case SendWarning(attempt=attempt):
            return _with_attempt(snapshot, attempt.attempt_id, _warned)
        case MarkReady(attempt=attempt, port=port):
            return _with_attempt(
                snapshot,
                attempt.attempt_id,
                lambda a: replace(a, ready_at=snapshot.now, port=port),
            )
        case Stop():
            return _stopped(snapshot, action)
        case Remove():
            gone = action.workload.attempt_id
            return _at_host(snapshot, action.host, lambda look: _without(look, gone))
        case Release():
            return _at_host(snapshot, action.host, lambda look: _released(look, action.lease_ids))
        case EndService(run_id=run_id, base=base):
            return _with_run(snapshot, run_id, lambda run: _without_service(run, base))
        case TakeStep():
            return with_step(snapshot, action.step)
        case EndRun():
            runs = tuple(run for run in snapshot.runs if run.run_id != action.run_id)
            return replace(snapshot, runs=runs)
        case _:
            assert_never(action)


def _with_run(snapshot: Snapshot, run_id: str, change: Callable[[Run], Run]) -> Snapshot:
    runs = (change(run) if run.run_id == run_id else run for run in snapshot.runs)
    return replace(snapshot, runs=tuple(runs))


def _without_service(run: Run, base: str) -> Run:
    wish = replace(run.services.get(base, ServiceWish()), stopped="its time is up")
    return replace(run, services={**run.services, base: wish})


def _warned(attempt: Attempt) -> Attempt:
    return replace(attempt, warned_at=attempt.placed_at, warning="sent")


def _launch(snapshot: Snapshot, attempt: Attempt, *, until_bound: bool) -> Snapshot:
    now = snapshot.now
    launched = replace(attempt, ref=attempt.attempt_id)
    if not until_bound:
        launched = replace(launched, phase=Phase.RUNNING, launched_at=now, started_at=now)
    owner = next((run.owner for run in snapshot.runs if run.run_id == attempt.run_id), "")
    workload = Workload(
        attempt.attempt_id,
        snapshot.daemon_id,
        attempt.runtime,
        attempt.attempt_id,
        running=not until_bound,
        created_only=until_bound,
        started_at=None if until_bound else now,
        gpus=attempt.gpus,
        owner=owner,
    )
    leases = tuple(
        Lease(
            f"{attempt.attempt_id}@{gpu}",
            gpu,
            snapshot.daemon_id,
            owner,
            attempt.attempt_id,
            now,
            boot_id=attempt.boot_id,
            workload=workload.ref,
        )
        for gpu in attempt.gpus
    )

    def started(look: Look) -> Look:
        before = _without(look, attempt.attempt_id)
        own = f"{attempt.run_id}-{attempt.stage}-"  # a slot's leases pass to its next attempt
        kept = tuple(x for x in before.leases if not _passes(x, own, attempt))
        workloads = (*before.workloads, workload)
        return replace(before, workloads=workloads, leases=(*kept, *leases))

    return _placed(_at_host(snapshot, attempt.host, started), launched)


def _passes(lease: Lease, own: str, attempt: Attempt) -> bool:
    earlier = (lease.attempt_id or "").startswith(own) and lease.gpu in attempt.gpus
    return earlier or lease.attempt_id == attempt.attempt_id


def _placed(snapshot: Snapshot, attempt: Attempt) -> Snapshot:
    def placed(run: Run) -> Run:
        others = tuple(a for a in run.attempts if a.attempt_id != attempt.attempt_id)
        return replace(run, attempts=(*others, attempt))

    runs = (placed(r) if r.run_id == attempt.run_id else r for r in snapshot.runs)
    return replace(snapshot, runs=tuple(runs))


def _ended(attempt: Attempt, finish: Finish, params: Mapping[str, Scalar], now: float) -> Attempt:
    """What has something to be copied is collected first, and over by the next finish."""
    if attempt.verdict is not None:
        return replace(attempt, phase=attempt.verdict)
    stage = finish.stage
    seen = conclude(attempt, stage, finish.workload, boot_id=finish.boot_id)
    phase, cause, detail = lifecycle_of(stage).judge(stage, seen, attempt.metrics, params)
    ended = _recorded(
        attempt, Record(attempt.attempt_id, phase, cause, detail, finish.workload), now
    )
    if not stage.outputs and not stage.keep:
        return ended
    return replace(ended, phase=Phase.COLLECTING, verdict=phase)


def _closed(attempt: Attempt, record: Record) -> Attempt:
    return replace(attempt, phase=record.phase, cause=record.cause, detail=record.detail)


def _recorded(attempt: Attempt, record: Record, now: float) -> Attempt:
    if not record.phase.is_final:
        began = attempt.started_at if attempt.started_at is not None else now
        return replace(attempt, phase=record.phase, started_at=began)
    workload = record.workload
    return replace(
        attempt,
        phase=record.phase,
        cause=record.cause,
        detail=record.detail,
        finished_at=now,
        exit_code=workload.exit_code if workload is not None else None,
        signal=workload.signal if workload is not None else None,
    )


def _stopped(snapshot: Snapshot, stop: Stop) -> Snapshot:
    attempt_id = stop.workload.attempt_id

    def asked(attempt: Attempt) -> Attempt:
        if not attempt.phase.is_at_work or attempt.stop_reason is not None:
            return attempt
        return replace(attempt, stop_reason=stop.cause, stop_detail=stop.detail)

    def ended(workload: Workload) -> Workload:
        return replace(workload, running=False, exit_code=TERM_EXIT)

    after = _with_attempt(snapshot, attempt_id, asked)
    return _at_host(after, stop.host, lambda look: _end_in(look, attempt_id, ended))


def _end_in(look: Look, attempt_id: str, ended: Callable[[Workload], Workload]) -> Look:
    found = next((w for w in look.workloads if w.attempt_id == attempt_id and w.running), None)
    if found is None:
        return look
    workloads = tuple(ended(w) if w is found else w for w in look.workloads)
    gpus = tuple(_without_processes(g, found) for g in look.gpus)
    return replace(look, workloads=workloads, gpus=gpus)


def _without_processes(gpu: Gpu, workload: Workload) -> Gpu:
    left = tuple(
        p
        for p in gpu.processes
        if p.attempt_id != workload.attempt_id and p.container_id != workload.ref
    )
    if left == gpu.processes and gpu.uuid not in workload.gpus:
        return gpu
    used = gpu.memory_used if left or gpu.memory_used is None else 0
    return replace(gpu, processes=left, memory_used=used)


def _without(look: Look, attempt_id: str) -> Look:
    left = tuple(w for w in look.workloads if w.attempt_id != attempt_id)
    return replace(look, workloads=left)


def _released(look: Look, lease_ids: tuple[str, ...]) -> Look:
    return replace(look, leases=tuple(x for x in look.leases if x.lease_id not in lease_ids))


def _with_attempt(
    snapshot: Snapshot, attempt_id: str, change: Callable[[Attempt], Attempt]
) -> Snapshot:
    def changed(run: Run) -> Run:
        if all(a.attempt_id != attempt_id for a in run.attempts):
            return run
        return replace(
            run,
            attempts=tuple(change(a) if a.attempt_id == attempt_id else a for a in run.attempts),
        )

    return replace(snapshot, runs=tuple(changed(run) for run in snapshot.runs))


def _at_host(snapshot: Snapshot, name: str, change: Callable[[Look], Look]) -> Snapshot:
    def changed(host: Host) -> Host:
        if host.name != name or host.look is None:
            return host
        return replace(host, look=change(host.look))

    return replace(snapshot, hosts=tuple(changed(host) for host in snapshot.hosts))


def _with_hosts(snapshot: Snapshot, change: Callable[[Look], Look]) -> Snapshot:
    hosts = tuple(
        host if host.look is None else replace(host, look=change(host.look))
        for host in snapshot.hosts
    )
    return replace(snapshot, hosts=hosts)
