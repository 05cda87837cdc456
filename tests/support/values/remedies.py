"""Applies what a reason names as its remedy to a snapshot, so that a test can see whether it is
one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hostler.base.units import GIB
from hostler.decide.index import Index
from hostler.decide.queue import queue_order
from hostler.model.hosts import Gpu, Host, HostCondition, KeptTotal, Look, Machine
from hostler.model.pipelines import Resources, Stage
from hostler.model.plans import Remedy, RemedyKind, Snapshot
from hostler.model.runs import Phase, Run
from tests.support.values.planning import A100, BOOT, DAEMON

Key = tuple[str, str]


def apply_remedies(snapshot: Snapshot, key: Key, remedies: tuple[Remedy, ...]) -> Snapshot:
    """The snapshot after all remedies, and with the stage's turn come."""
    for remedy in remedies:
        snapshot = apply_remedy(snapshot, key, remedy)
    return its_turn(snapshot, key)


def apply_remedy(snapshot: Snapshot, key: Key, remedy: Remedy) -> Snapshot:
    """The snapshot after one remedy for one waiting stage."""
    subject = remedy.subject
    match remedy.kind:
        case RemedyKind.WAIT_FOR_ATTEMPT:
            return _end_attempt(snapshot, subject)
        case RemedyKind.WAIT_FOR_PROCESS | RemedyKind.WAIT_FOR_MEMORY:
            name, uuid = subject.split(":", 1)
            return _at(snapshot, name, lambda host: _without_others(host, uuid))
        case RemedyKind.WAIT_FOR_LEASE:
            return _without_lease(snapshot, subject)
        case RemedyKind.WAIT_UNTIL:
            return replace(snapshot, now=float(remedy.value or 0))
        case RemedyKind.WAIT_FOR_LOOK:
            return _at(snapshot, subject, lambda host: _heard(host, snapshot, key))
        case RemedyKind.WAIT_FOR_HOST:
            ailing = {site: a for site, a in snapshot.ailing.items() if site[0] != subject}
            return replace(snapshot, ailing=ailing)
        case RemedyKind.FIX_HOST:
            return _at(snapshot, subject, lambda host: _fixed(host, snapshot, key))
        case RemedyKind.FREE_FILES:
            emptied = replace(snapshot, store_full=None)
            return _at(emptied, subject, _with_room)
        case RemedyKind.UNDRAIN:
            return _at(snapshot, subject, lambda host: replace(host, drained=None))
        case RemedyKind.LOWER:
            value = float(remedy.value or 0)
            number = value if subject == "cpus" else int(value)
            return _with_resources(
                snapshot,
                key,
                lambda r: replace(r, **{subject: number}),  # type: ignore[arg-type]
            )
        case RemedyKind.DROP:
            return _dropped(snapshot, key, subject)
        case RemedyKind.WAIT_FOR_TURN | RemedyKind.ADD_HOST | RemedyKind.WAIT_FOR_STAGE:
            return snapshot


def its_turn(snapshot: Snapshot, key: Key) -> Snapshot:
    """Everything that is before the stage in the queue has left, with what depends on it."""
    before: set[Key] = set()
    for entry in queue_order(Index(snapshot)):
        if entry.key == key:
            break
        before.add(entry.key)
    return _without_stages(snapshot, before)


def the_stage(snapshot: Snapshot, key: Key) -> Stage:
    """The stage of that key."""
    run = next(run for run in snapshot.runs if run.run_id == key[0])
    return next(stage for stage in run.stages if stage.name == key[1])


def _without_stages(snapshot: Snapshot, gone: set[Key]) -> Snapshot:
    def trimmed(run: Run) -> Run:
        names = {stage for run_id, stage in gone if run_id == run.run_id}
        while more := {s.name for s in run.stages if names & set(s.needs)} - names:
            names |= more
        return replace(
            run,
            stages=tuple(s for s in run.stages if s.name not in names),
            attempts=tuple(a for a in run.attempts if a.stage not in names),
        )

    return replace(snapshot, runs=tuple(trimmed(run) for run in snapshot.runs))


def _end_attempt(snapshot: Snapshot, attempt_id: str) -> Snapshot:
    dependents: set[Key] = set()
    runs = []
    for run in snapshot.runs:
        attempts = []
        for attempt in run.attempts:
            if attempt.attempt_id == attempt_id:
                attempt = replace(attempt, phase=Phase.SUCCEEDED, finished_at=snapshot.now)
                dependents |= {(run.run_id, s.name) for s in run.stages if attempt.stage in s.needs}
            attempts.append(attempt)
        runs.append(replace(run, attempts=tuple(attempts)))
    hosts = tuple(_without_attempt(host, attempt_id) for host in snapshot.hosts)
    return _without_stages(replace(snapshot, hosts=hosts, runs=tuple(runs)), dependents)


def _without_attempt(host: Host, attempt_id: str) -> Host:
    look = host.look
    if look is None:
        return host
    return replace(
        host,
        look=replace(
            look,
            workloads=tuple(w for w in look.workloads if w.attempt_id != attempt_id),
            leases=tuple(x for x in look.leases if x.attempt_id != attempt_id),
            gpus=tuple(_emptied(g, lambda p: p.attempt_id == attempt_id) for g in look.gpus),
        ),
    )


def _without_others(host: Host, uuid: str) -> Host:
    """Everybody but our open work has left this GPU."""
    look = host.look
    assert look is not None
    return replace(
        host,
        look=replace(
            look,
            gpus=tuple(
                _emptied(g, lambda p: p.attempt_id is None, unseen=True) if g.uuid == uuid else g
                for g in look.gpus
            ),
            workloads=tuple(
                w for w in look.workloads if w.daemon_id == DAEMON or uuid not in w.gpus
            ),
            foreign_containers=tuple(c for c in look.foreign_containers if uuid not in c.gpus),
            leases=tuple(
                x
                for x in look.leases
                if x.gpu != uuid or any(w.attempt_id == x.attempt_id for w in look.workloads)
            ),
        ),
    )


def _without_lease(snapshot: Snapshot, lease_id: str) -> Snapshot:
    for host in snapshot.hosts:
        for lease in host.look.leases if host.look is not None else ():
            if lease.lease_id != lease_id:
                continue

            def left(host: Host, lease_id: str = lease_id) -> Host:
                assert host.look is not None
                leases = tuple(x for x in host.look.leases if x.lease_id != lease_id)
                return replace(host, look=replace(host.look, leases=leases))

            snapshot = _at(snapshot, host.name, left)
            if lease.attempt_id is not None:
                snapshot = _end_attempt(snapshot, lease.attempt_id)
    return snapshot


def _emptied(gpu: Gpu, goes: Callable[..., bool], *, unseen: bool = False) -> Gpu:
    left = tuple(p for p in gpu.processes if not goes(p))
    if left == gpu.processes and not unseen:
        return gpu
    return replace(gpu, processes=left, memory_used=sum(p.memory or 0 for p in left))


def _heard(host: Host, snapshot: Snapshot, key: Key) -> Host:
    look = host.look
    runtimes = host.runtimes
    if look is None:
        look, runtimes = Look(0.0, BOOT, _suitable(host, snapshot, key)), ("docker", "process")
    look = replace(look, asked_at=snapshot.now)
    return replace(host, condition=HostCondition.UP, problem=None, look=look, runtimes=runtimes)


def _with_room(host: Host) -> Host:
    assert host.look is not None
    return replace(host, look=replace(host.look, kept=KeptTotal(), machine=Machine()))


def _fixed(host: Host, snapshot: Snapshot, key: Key) -> Host:
    host = _heard(host, snapshot, key)
    look = host.look
    assert look is not None
    well = tuple(replace(gpu, problem=None, mig=False) for gpu in look.gpus)
    if look.gpu_problem is not None:
        well = _suitable(host, snapshot, key)
    look = replace(look, gpus=well, gpu_problem=None, docker_problem=None, lease_problem=None)
    facts = replace(host.facts, docker_gpu=host.facts.docker_gpu or "nvidia")
    return replace(host, look=look, facts=facts, runtimes=("docker", "process"))


def _suitable(host: Host, snapshot: Snapshot, key: Key) -> tuple[Gpu, ...]:
    asked = the_stage(snapshot, key).resources
    name = asked.gpu_models[0].strip("*") if asked.gpu_models else A100
    size = asked.gpu_memory or 80 * GIB
    return tuple(
        Gpu(f"GPU-{host.name}-{i}", i, name, size, memory_used=0) for i in range(asked.gpus)
    )


def _dropped(snapshot: Snapshot, key: Key, what: str) -> Snapshot:
    if what == "code":
        return with_stage(snapshot, key, lambda s: replace(s, code="snapshot"))
    if what == "max_parallel":
        return with_stage(snapshot, key, lambda s: replace(s, max_parallel=None))
    empty: dict[str, object] = {"gpu_models": (), "labels": {}, "hosts": ()}
    return _with_resources(
        snapshot,
        key,
        lambda r: replace(r, **{what: empty[what]}),  # type: ignore[arg-type]
    )


def _with_resources(
    snapshot: Snapshot, key: Key, change: Callable[[Resources], Resources]
) -> Snapshot:
    return with_stage(snapshot, key, lambda s: replace(s, resources=change(s.resources)))


def with_stage(snapshot: Snapshot, key: Key, change: Callable[[Stage], Stage]) -> Snapshot:
    """The snapshot with one stage changed."""

    def changed(run: Run) -> Run:
        if run.run_id != key[0]:
            return run
        return replace(run, stages=tuple(change(s) if s.name == key[1] else s for s in run.stages))

    return replace(snapshot, runs=tuple(changed(run) for run in snapshot.runs))


def _at(snapshot: Snapshot, name: str, change: Callable[[Host], Host]) -> Snapshot:
    hosts = tuple(change(host) if host.name == name else host for host in snapshot.hosts)
    return replace(snapshot, hosts=hosts)
