"""`plan(snapshot)`: the actions to take now, and the reason of each pending stage; `preview` is the
dry run of `--plan`. Pure.

The daemon plans anew on every event. A superseded daemon plans no actions, and gives one reason for
all pending stages. `preview` shows where a run would go if it were submitted now
(`hostler run --plan`), and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hostler.decide.health import probe_times
from hostler.decide.host_capacity import HostCapacity, candidates, capacities_of
from hostler.decide.index import Index, PlanCache
from hostler.decide.orphans import end_orphans, is_over, quarantine_at, release
from hostler.decide.placing import Placing
from hostler.decide.queue import place
from hostler.decide.reasons import Reasons
from hostler.decide.requests import Request, requests_of, wanted_of
from hostler.decide.services import service_ends, startup_ends
from hostler.decide.settle import settle
from hostler.decide.silence import lost_at
from hostler.decide.stop_reasons import time_limit, warn_at
from hostler.model.pipelines import Stage
from hostler.model.plans import (
    Action,
    EndRun,
    EndService,
    Plan,
    PreviewLine,
    Reason,
    RemedyKind,
    Snapshot,
    Start,
)
from hostler.model.runs import Run, StageStatus

if TYPE_CHECKING:
    from hostler.decide.releases.passing import Released

Key = tuple[str, str]


def plan(snapshot: Snapshot, plan_cache: PlanCache | None = None) -> Plan:
    """Decide on a snapshot, in five passes: settle, end orphans, release, end, place. A
    `plan_cache` that is passed from plan to plan makes planning faster.

    The same snapshot gives the same plan. A plan has no action whose key is in flight. Every action
    may be repeated: later plans may have it again until a snapshot shows its effect.
    """
    index = Index(snapshot, plan_cache)
    if snapshot.halted:
        return halted(index)
    released = _releases(index) if snapshot.services else None
    placing = place(index) if snapshot.runs else Placing({})
    actions: list[Action] = [
        *(released.actions if released is not None else ()),
        *(settle(index) if snapshot.runs else ()),
        *(end_orphans(index) if index.has_orphans() else ()),
        *(release(index) if index.has_leases() else ()),
        *_end_services(index),
        *_end_runs(index),
        *placing.starts,
    ]
    ready = tuple(action for action in actions if action.key not in snapshot.in_flight)
    reasons = Reasons(index, placing) if snapshot.runs else {}
    wakes = [_wake_at(index, placing), released.wake_at if released is not None else None]
    waiting = released.reasons if released is not None else {}
    return Plan(ready, reasons, waiting, min((at for at in wakes if at is not None), default=None))


def _releases(index: Index) -> Released:
    """Decide on deployed services. The module is loaded only if there is one."""
    from hostler.decide.releases.passing import pass_releases

    released = pass_releases(index)
    index.held, index.leaving = released.held, released.leaving
    index.heirs, index.draining = released.heirs, frozenset(released.draining)
    index.slots = frozenset(released.slots)
    index.at_gateway = frozenset(released.at_gateway)
    return released


def _end_services(index: Index) -> Iterator[Action]:
    """End the services whose time is up, if that is not stored yet."""
    for run_id, progress in index.progress.items():
        for base, at in service_ends(progress).items() if progress.services else ():
            if index.snapshot.now >= at:
                yield EndService(run_id, base)


def _end_runs(index: Index) -> Iterator[Action]:
    """End the runs whose stages are all final, except while a host may have more notes about
    them."""
    snapshot = index.snapshot
    for run_id, progress in index.progress.items():
        outcome = progress.outcome()
        if outcome is not None and not (snapshot.unsure and run_id in snapshot.restored):
            yield EndRun(run_id, outcome)


def _wake_at(index: Index, placing: Placing) -> float | None:
    """The next moment at which time alone changes the plan."""
    now = index.snapshot.now
    coming = [at for at in _moments(index, placing) if at > now]
    return min(coming, default=None)


def _moments(index: Index, placing: Placing) -> Iterator[float]:
    snapshot = index.snapshot
    yield from placing.resting.values()
    for ailment in snapshot.ailing.values():
        yield from probe_times(ailment)
    for item in index.open.values():
        limit = time_limit(item) if item.stage.timeout is not None else None
        at_work = item.attempt.phase.is_at_work
        if limit is not None and at_work and item.attempt.stop_reason is None:
            yield limit
            if (warning := warn_at(item)) is not None:
                yield warning
        if item.stage.service is not None and (late := startup_ends(item)) is not None:
            yield late
        if item.attempt.host not in index.fresh:
            lost = lost_at(item, index.hosts.get(item.attempt.host), snapshot)
            if lost is not None:
                yield lost
    for progress in index.progress.values():
        if progress.services:
            yield from service_ends(progress).values()
    for host in snapshot.hosts:
        for lease in host.look.leases if host.look is not None else ():
            patience = quarantine_at(lease, index) if is_over(lease, index) else None
            if patience is not None:
                yield patience


def halted(index: Index) -> Plan:
    """A plan without actions; its reason is why the daemon is halted."""
    return Plan((), _Halted(index, index.snapshot.halted))


class _Halted(Mapping[Key, Reason]):
    """(run id, stage) -> the reason, for every stage that waits."""

    def __init__(self, index: Index, why: str) -> None:
        self._index = index
        self._reason = Reason(why)

    def __getitem__(self, key: Key) -> Reason:
        progress = self._index.progress.get(key[0])
        if progress is None or progress.status.get(key[1]) is not StageStatus.WAITING:
            raise KeyError(key)
        return self._reason

    def __iter__(self) -> Iterator[Key]:
        for run_id, progress in self._index.progress.items():
            for name, status in progress.status.items():
                if status is StageStatus.WAITING:
                    yield (run_id, name)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def preview(snapshot: Snapshot, run: Run) -> list[PreviewLine]:
    """A line for each stage in file order: where it would start now and why, or why it would wait;
    for stages that come later, which hosts could take them."""
    others = tuple(r for r in snapshot.runs if r.run_id != run.run_id)
    with_run = replace(snapshot, runs=(*others, run))
    decided = plan(with_run)
    index = Index(with_run)
    starts = {
        action.stage.name: action
        for action in decided.actions
        if isinstance(action, Start) and action.attempt.run_id == run.run_id
    }
    capacities = capacities_of(index)
    lines = []
    for stage in run.stages:
        able = _able(capacities, requests_of(run, stage))
        start = starts.get(stage.name)
        reason = decided.reasons.get((run.run_id, stage.name))
        if start is not None:
            lines.append(_now(start, index, able))
        elif reason is not None:
            lines.append(_waits(stage, run, reason, able))
        else:
            lines.append(_over(stage, index, run, able))
    return [_without_id(line, run) for line in lines]


def _able(capacities: list[HostCapacity], requests: Sequence[Request]) -> tuple[str, ...]:
    """The hosts that could take any of these requests."""
    found = [c.capacity.host.name for each in requests for c in candidates(capacities, each)]
    return tuple(dict.fromkeys(found))


def _without_id(line: PreviewLine, run: Run) -> PreviewLine:
    """The line without the run's id, since the run is not stored."""

    def told(text: str) -> str:
        return text.replace(f"{run.owner}'s {run.run_id}", "this run's").replace(
            run.run_id, "this run"
        )

    reason = line.reason
    if reason is not None:
        hosts = tuple(replace(host, sentence=told(host.sentence)) for host in reason.hosts)
        reason = replace(reason, sentence=told(reason.sentence), hosts=hosts)
    return replace(line, why=told(line.why), reason=reason)


def _now(start: Start, index: Index, able: tuple[str, ...]) -> PreviewLine:
    attempt = start.attempt
    look = index.hosts[attempt.host].look
    gpus = look.gpus if look is not None else ()
    indices = tuple(gpu.index for gpu in gpus if gpu.uuid in attempt.gpus)
    return PreviewLine(start.stage.name, attempt.host, indices, start.why, hosts=able)


def _waits(stage: Stage, run: Run, reason: Reason, able: tuple[str, ...]) -> PreviewLine:
    later = any(r.kind is RemedyKind.WAIT_FOR_STAGE for r in reason.remedies)
    if not later:
        return PreviewLine(stage.name, why=reason.sentence, reason=reason, hosts=able)
    first = (f"{'the end of ' if n in stage.needs_ended else ''}{n}" for n in stage.needs[:3])
    after = ", ".join(first) + (", ..." if len(stage.needs) > 3 else "")
    where = f"{', '.join(able)} could take it" if able else "no host that is up could take it"
    why = f"after {after}: {wanted_of(requests_of(run, stage))}; {where}"
    return PreviewLine(stage.name, why=why, later=True, hosts=able)


def _over(stage: Stage, index: Index, run: Run, able: tuple[str, ...]) -> PreviewLine:
    progress = index.progress[run.run_id]
    status = progress.status[stage.name]
    words = {StageStatus.SUCCEEDED: "kept from the run that is retried"}
    why = progress.notes.get(stage.name) or words.get(status, str(status))
    return PreviewLine(stage.name, why=why, hosts=able)
