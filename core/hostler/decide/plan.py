"""`plan(snapshot)`: what to do now, and why the rest waits. Pure, and afresh on every event. A
superseded daemon plans no actions, and gives one reason for all pending stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hostler.decide.health import probe_times
from hostler.decide.index import Index, PlanCache, fresh_look
from hostler.decide.orphans import end_orphans, is_over, quarantine_at, release
from hostler.decide.placing import Placing
from hostler.decide.queue import place
from hostler.decide.reasons import Reasons
from hostler.decide.settle import lost_at, settle
from hostler.decide.stop_reasons import time_limit
from hostler.model.plans import Action, EndRun, Plan, Reason, Snapshot
from hostler.model.runs import StageStatus

Key = tuple[str, str]


def plan(snapshot: Snapshot, plan_cache: PlanCache | None = None) -> Plan:
    """Decide on a snapshot, in five passes: settle, end orphans, release, end, place. A
    `plan_cache` that is handed from plan to plan makes them quicker.

    The same snapshot gives the same plan. No action is given whose key is in flight. Every action
    may be repeated: until its effect is seen in a later snapshot, it may be given again.
    """
    index = Index(snapshot, plan_cache)
    if snapshot.halted:
        return halted(index)
    placing = place(index)
    actions: list[Action] = [
        *settle(index),
        *(end_orphans(index) if index.has_orphans() else ()),
        *(release(index) if index.has_leases() else ()),
        *_end_runs(index),
        *placing.starts,
    ]
    ready = tuple(action for action in actions if action.key not in snapshot.in_flight)
    return Plan(ready, Reasons(index, placing), _wake_at(index, placing))


def _end_runs(index: Index) -> Iterator[Action]:
    """Runs of which every stage is final; not while a host may have noted more of them."""
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
        host = index.hosts.get(item.attempt.host)
        if fresh_look(host, snapshot.now, snapshot.policy) is None:
            lost = lost_at(item, host, snapshot.policy)
            if lost is not None:
                yield lost
    for host in snapshot.hosts:
        for lease in host.look.leases if host.look is not None else ():
            patience = quarantine_at(lease, index) if is_over(lease, index) else None
            if patience is not None:
                yield patience


def halted(index: Index) -> Plan:
    """No action, and why."""
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
