"""The state of each stage of a run from its attempts and needs: ready, running, retried, skipped,
over.

No status is stored: a computed status cannot be wrong after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hostler.base.errors import InputError
from hostler.decide.conditions import expression_names
from hostler.decide.expressions import evaluate
from hostler.decide.groups import Group, groups_of
from hostler.decide.lifecycle import LIFECYCLES, has_groups, lifecycle_of
from hostler.model.pipelines import UNCOUNTED, After, Stage
from hostler.model.runs import Attempt, Outcome, Phase, Run, StageStatus
from hostler.model.service_wishes import why_unwanted


@dataclass(slots=True)
class Progress:
    """One run's stages, indexed once. Treat it as frozen."""

    run: Run
    stages: dict[str, Stage]
    status: dict[str, StageStatus] = field(default_factory=dict)
    tries: dict[str, list[Attempt]] = field(default_factory=dict)
    """Stage -> its attempts, in order of placing."""
    ready: list[Stage] = field(default_factory=list)
    """Waiting stages whose needs are met, in file order. Back-off and `max_parallel` may still
    delay them."""
    notes: dict[str, str] = field(default_factory=dict)
    """Stage -> why it was skipped, cancelled, or failed without an attempt."""
    failed_bases: dict[str, str] = field(default_factory=dict)
    """Base of a matrix with `fail_fast` -> the cell that failed."""
    running_cells: dict[str, int] = field(default_factory=dict)
    """Base -> the number of its cells at work."""
    live: list[Attempt] = field(default_factory=list)
    """Attempts that are not final."""
    groups: dict[str, Group] = field(default_factory=dict)
    """Stage -> its group, for the stages that are in one."""
    met: set[str] = field(default_factory=set)
    """Stages whose dependents may start."""
    services: tuple[Stage, ...] = ()
    """One replica of each service."""
    slots: list[Stage] = field(default_factory=list)
    """Replicas that will start again and were ready before: their GPUs are kept."""
    seen: set[tuple[str, StageStatus]] = field(default_factory=set)
    """Pairs of a kind of stage and a status that occurs."""

    def outcome(self) -> Outcome | None:
        """How the run ended; None while a stage keeps it open."""
        if any(LIFECYCLES[kind].keeps_run_open(status) for kind, status in self.seen):
            return None
        seen = {status for _, status in self.seen}
        if self.run.cancelled_by is not None and not seen <= _GOOD:
            return Outcome.CANCELLED
        if StageStatus.FAILED in seen:
            return Outcome.FAILED
        return Outcome.CANCELLED if StageStatus.CANCELLED in seen else Outcome.SUCCEEDED

    def next_number(self, stage: str) -> int:
        """The number of the next attempt, from 1."""
        group = self.groups.get(stage)
        if group is not None:
            return group.number + 1
        return max((a.number for a in self.tries.get(stage, ())), default=0) + 1

    def history(self, stage: str) -> Sequence[Attempt]:
        """The attempts that decide about the next one; for a group, those that made a try fail."""
        group = self.groups.get(stage)
        return self.tries.get(stage, ()) if group is None else group.failures

    def not_before(self, stage: Stage, ended_at: Callable[[Attempt], float]) -> float | None:
        """When the next attempt may start at the earliest; None: at once."""
        tries = self.history(stage.name)
        if not tries:
            return None
        return lifecycle_of(stage).not_before(stage, tries, ended_at(tries[-1]))

    def metrics(self, stage: str) -> Mapping[str, float]:
        """The last metrics of a stage that succeeded, in this run or in the run that it retries."""
        if stage in self.run.kept:
            return self.run.kept[stage].metrics
        done = [a for a in self.tries.get(stage, ()) if a.phase is Phase.SUCCEEDED]
        return done[-1].metrics if done else {}

    def unmet(self, stage: Stage) -> tuple[str, ...]:
        """The stages that still block its start."""
        return tuple(
            name
            for name in stage.needs
            if not (self.status[name].is_final if name in stage.needs_ended else name in self.met)
        )

    def awaited(self, stage: Stage) -> tuple[After, ...]:
        """The other runs that the stage waits for."""
        return tuple(each for each in stage.after if each.run_id not in self.run.awaited)

    def waits_for_runs(self, stage: Stage) -> str:
        """The other runs that the stage waits for, in one sentence."""
        awaited = self.awaited(stage)
        said = (f"run {a.run_id} to {'end' if a.only_end else 'succeed'}" for a in awaited)
        return f"waits for {', '.join(said)}"

    def missed(self, stage: Stage) -> str | None:
        """One sentence if a run that had to succeed first did not; None: no such run."""
        for each in stage.after:
            outcome = self.run.awaited.get(each.run_id)
            if outcome is not None and not each.only_end and outcome != Outcome.SUCCEEDED:
                return f"it should have started after run {each.run_id}, which {_ENDS[outcome]}"
        if self.run.outcome is not None and (awaited := self.awaited(stage)):
            names = ", ".join(each.run_id for each in awaited)
            return f"it should have started after {names}, and its run ended before"
        return None


REMOVED = "removed"
"""The outcome of an awaited run that no longer exists."""
_ENDS = {
    "failed": "failed",
    "cancelled": "was cancelled",
    REMOVED: "was removed before this one could start",
}
_Needs = tuple[str, ...] | tuple[tuple[str, ...], frozenset[str]]
"""The needed stages; if some of them only have to end, also the names of these."""
_LIVE = frozenset(phase for phase in Phase if not phase.is_final)
_AT_WORK = {StageStatus.STARTING, StageStatus.RUNNING}
_GOOD = {StageStatus.SUCCEEDED, StageStatus.SKIPPED}
_BROKEN = {StageStatus.FAILED, StageStatus.SKIPPED, StageStatus.CANCELLED}


def progress_of(run: Run) -> Progress:
    """Index a run: one pass over its attempts, one over its stages in order of need."""
    progress = Progress(run, {stage.name: stage for stage in run.stages}, live=live_attempts(run))
    for name in run.kept:
        progress.status[name] = StageStatus.SUCCEEDED
        progress.met.add(name)
    for attempt in run.attempts:
        progress.tries.setdefault(attempt.stage, []).append(attempt)
    if has_groups(run.stages):
        progress.groups = groups_of(run)
    retrying = _settle_attempted(progress)
    in_order = _settle_unattempted(progress, retrying)
    if not in_order:
        order = {stage.name: i for i, stage in enumerate(run.stages)}
        progress.ready.sort(key=lambda stage: order[stage.name])
    if progress.groups:
        _hold_parts_back(progress)
    if run.outcome is not None:
        _end_waiting(progress)
    services = {stage.base: stage for stage in run.stages if stage.service is not None}
    progress.services = tuple(services.values())
    progress.seen = {(stage.kind, progress.status[stage.name]) for stage in run.stages}
    return progress


def _end_waiting(progress: Progress) -> None:
    """Set the final status of stages that wait in a run that has ended."""
    for name, status in progress.status.items():
        if status is not StageStatus.WAITING:
            continue
        tries = progress.tries.get(name, [])
        has_failed = bool(tries) and tries[-1].cause not in UNCOUNTED
        progress.status[name] = StageStatus.FAILED if has_failed else StageStatus.CANCELLED
        if not tries:
            progress.notes.setdefault(name, "its run ended before it started")
    progress.ready.clear()
    progress.slots.clear()


def live_attempts(run: Run) -> list[Attempt]:
    """Its attempts that are not final, in order of placing."""
    return [attempt for attempt in run.attempts if attempt.phase in _LIVE]


def _settle_attempted(progress: Progress) -> set[str]:
    """Set the status of every stage that has attempts. Returns the names of those that get another
    try."""
    retrying = [s for group in _distinct(progress.groups) for s in _settle_group(progress, group)]
    for name, tries in progress.tries.items():
        stage = progress.stages.get(name)
        if stage is None or name in progress.status:
            continue
        kind = lifecycle_of(stage)
        status = kind.status(tries)
        if stage.service is not None and progress.run.services:
            status = _wished(progress, stage, status)
        if kind.lets_go(status, tries):
            progress.met.add(name)
        if status in _AT_WORK:
            cells = progress.running_cells
            cells[stage.base] = cells.get(stage.base, 0) + 1
        elif status is StageStatus.FAILED:
            if progress.run.cancelled_by is None and kind.is_tried_again(stage, tries):
                retrying.append(stage)
                if stage.service is not None and any(a.ready_at is not None for a in tries):
                    progress.slots.append(stage)
                status = StageStatus.WAITING
            elif tries[-1].cause in UNCOUNTED and progress.run.cancelled_by is not None:
                status = StageStatus.CANCELLED
            elif kind.stops_siblings(stage):
                progress.failed_bases.setdefault(stage.base, name)
        progress.status[name] = status
    return _not_cut_short(progress, retrying)


def _wished(progress: Progress, stage: Stage, status: StageStatus) -> StageStatus:
    """The status of a replica after users' requests that differ from its file. A replica that was
    stopped and is wanted again counts as failed, and so gets another try."""
    why = why_unwanted(stage, progress.run.services)
    if why and status in (StageStatus.FAILED, StageStatus.CANCELLED):
        progress.notes[stage.name] = why
        return StageStatus.CANCELLED
    is_again = not why and progress.run.cancelled_by is None
    return StageStatus.FAILED if is_again and status is StageStatus.CANCELLED else status


def _distinct(groups: Mapping[str, Group]) -> Iterator[Group]:
    return (group for name, group in groups.items() if group.stages[0].name == name)


def _settle_group(progress: Progress, group: Group) -> Iterator[Stage]:
    """Set the status of the stages of a group that was tried; returns those that get another
    try."""
    if not group.number:
        return
    statuses = group.status(is_cancelled=progress.run.cancelled_by is not None)
    progress.status |= statuses
    seen, first = set(statuses.values()), group.stages[0]
    if seen & _AT_WORK:  # a group counts as one running cell
        progress.running_cells[first.base] = progress.running_cells.get(first.base, 0) + 1
    culprit = group.culprit
    for stage in group.stages:
        kind, status = lifecycle_of(stage), statuses[stage.name]
        if kind.lets_go(status, progress.tries.get(stage.name, ())):
            progress.met.add(stage.name)
        if status is StageStatus.WAITING and not group.is_live:
            yield stage
        if culprit is None or not status.is_final or status is StageStatus.SUCCEEDED:
            continue
        if culprit.stage != stage.name:
            progress.notes[stage.name] = f"{culprit.stage} of its group {group.how}"
        elif status is StageStatus.FAILED and kind.stops_siblings(stage):
            progress.failed_bases.setdefault(stage.base, stage.name)


def _hold_parts_back(progress: Progress) -> None:
    """Keep a group from being ready until all of its stages are."""
    ready = {stage.name for stage in progress.ready}
    progress.ready = [
        stage
        for stage in progress.ready
        if (group := progress.groups.get(stage.name)) is None
        or ready.issuperset(other.name for other in group.stages)
    ]


def _settle_unattempted(progress: Progress, retrying: set[str]) -> bool:
    """Set the status of all other stages. Returns whether the ready ones are in file order."""
    run, status, ready = progress.run, progress.status, progress.ready
    is_undisturbed = run.cancelled_by is None and not run.services and not progress.failed_bases
    needs_cache: dict[_Needs, StageStatus | None] = {}
    in_order = True
    for stage in run.stages:
        if stage.name in status:
            if stage.name in retrying:
                ready.append(stage)
        elif is_undisturbed and stage.when is None and not (stage.needs or stage.after):
            status[stage.name] = StageStatus.WAITING  # as in `_resolve`: a sweep has thousands
            ready.append(stage)
        else:
            in_order &= _resolve(progress, stage, needs_cache)
    return in_order


def _not_cut_short(progress: Progress, retrying: list[Stage]) -> set[str]:
    """End the cells that wait for a retry if another cell of the same base failed finally. Returns
    the others."""
    kept: set[str] = set()
    for stage in retrying:
        if stage.base in progress.failed_bases:
            uncounted = all(a.cause in UNCOUNTED for a in progress.history(stage.name)[-1:])
            progress.status[stage.name] = StageStatus.CANCELLED if uncounted else StageStatus.FAILED
            progress.notes[stage.name] = f"{progress.failed_bases[stage.base]} failed (fail_fast)"
        else:
            kept.add(stage.name)
    return kept


def _resolve(progress: Progress, stage: Stage, cache: dict[_Needs, StageStatus | None]) -> bool:
    """Set the status of a stage without attempts, and of all stages before it. Returns whether the
    latter were known already. It uses its own stack: a chain of ten thousand stages is too deep for
    Python's."""
    stack = [stage]
    status, stages = progress.status, progress.stages
    in_order = True
    while stack:
        top = stack[-1]
        if top.name in status:
            stack.pop()
            continue
        needs = (top.needs, top.needs_ended) if top.needs_ended else top.needs
        if needs not in cache:
            pending = [stages[n] for n in top.needs if n not in status]
            if pending:
                stack.extend(pending)
                in_order = False
                continue
            cache[needs] = _worst(progress, top)
        stack.pop()
        status[top.name] = _unattempted_status(progress, top, cache[needs])
    return in_order


def _worst(progress: Progress, stage: Stage) -> StageStatus | None:
    """The combined status of a stage's needs: None when it may start, else the status that
    decides."""
    if progress.met.issuperset(stage.needs):
        return None
    status, ended = progress.status, stage.needs_ended
    seen = {status[n] for n in stage.needs if n not in ended}
    if seen.isdisjoint(_BROKEN):
        return None if ended and not progress.unmet(stage) else StageStatus.WAITING
    for decisive in (StageStatus.FAILED, StageStatus.SKIPPED, StageStatus.CANCELLED):
        if decisive in seen:
            return decisive
    raise AssertionError(seen)


def _unattempted_status(progress: Progress, stage: Stage, needs: StageStatus | None) -> StageStatus:
    run, notes = progress.run, progress.notes
    if needs in (StageStatus.FAILED, StageStatus.SKIPPED):
        notes[stage.name] = _broken_need(progress, stage)
        return StageStatus.SKIPPED
    if run.cancelled_by is not None:
        notes[stage.name] = f"cancelled by {run.cancelled_by}"
        return StageStatus.CANCELLED
    if run.services and stage.service is not None and (why := why_unwanted(stage, run.services)):
        notes[stage.name] = why
        return StageStatus.CANCELLED
    if needs is StageStatus.CANCELLED:
        notes[stage.name] = _broken_need(progress, stage)
        return StageStatus.SKIPPED
    if stage.base in progress.failed_bases:
        notes[stage.name] = f"{progress.failed_bases[stage.base]} failed (fail_fast)"
        return StageStatus.CANCELLED
    if needs is StageStatus.WAITING:
        return StageStatus.WAITING
    return _gated_status(progress, stage)


def _gated_status(progress: Progress, stage: Stage) -> StageStatus:
    """The status of a stage whose needs are met: only other runs and its `when` can still block
    it."""
    if stage.after:
        missed = progress.missed(stage)
        if missed is not None:
            progress.notes[stage.name] = missed
            return StageStatus.CANCELLED
        if progress.awaited(stage):
            return StageStatus.WAITING
    if stage.when is not None:
        try:
            names = expression_names(progress.run, stage, progress.metrics)
            wanted = bool(evaluate(stage.when, names))
        except (InputError, ValueError) as error:
            # An expression with an error does not count as false: the run must not succeed.
            progress.notes[stage.name] = f"its `when` cannot be evaluated: {error}"
            return StageStatus.FAILED
        if not wanted:
            progress.notes[stage.name] = f"its `when` is false: {stage.when}"
            return StageStatus.SKIPPED
    progress.ready.append(stage)
    return StageStatus.WAITING


def _broken_need(progress: Progress, stage: Stage) -> str:
    broken = [
        n for n in stage.needs if n not in stage.needs_ended and progress.status[n] in _BROKEN
    ]
    more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
    status = progress.status[broken[0]]
    how = status if status is StageStatus.FAILED else f"was {status}"
    return f"needs {broken[0]}, which {how}{more}"
