"""Stages that are placed, started, retried and ended together (the ranks of a distributed job):
whose failure counts, and when all are tried again. Pure.

One try of a group is one attempt of each of its stages, all with the same number. It is not stored:
its state follows from its attempts, also after a crash.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from hostler.decide.lifecycle import LIFECYCLES, Lifecycle, lifecycle_of
from hostler.model.pipelines import UNCOUNTED, Cause, GroupHosts, Stage
from hostler.model.runs import Attempt, Phase, Run, StageStatus


@dataclass(frozen=True)
class Group:
    """The stages of one group, and all their attempts."""

    name: str
    stages: tuple[Stage, ...]
    """In file order; identical except for their names."""
    hosts: GroupHosts
    tries: Mapping[int, tuple[Attempt, ...]]
    """Number -> the attempts of that try, in order of placing."""

    @cached_property
    def number(self) -> int:
        """The number of the latest try; 0: there was none."""
        return max(self.tries, default=0)

    @cached_property
    def latest(self) -> dict[str, Attempt]:
        """Stage -> its attempt in the latest try."""
        return {attempt.stage: attempt for attempt in self.tries.get(self.number, ())}

    @property
    def attempts(self) -> list[Attempt]:
        """The attempts of all tries."""
        return [attempt for attempts in self.tries.values() for attempt in attempts]

    @property
    def is_whole(self) -> bool:
        """Whether each stage was placed in the latest try. The daemon writes the intents of a try
        one by one, and may end in between."""
        return len(self.latest) == len(self.stages)

    @property
    def is_live(self) -> bool:
        """Whether an attempt is not final."""
        return any(not attempt.phase.is_final for attempt in self.attempts)

    @property
    def is_done(self) -> bool:
        """Whether each stage has succeeded."""
        succeeded = all(a.phase is Phase.SUCCEEDED for a in self.latest.values())
        return self.is_whole and succeeded

    @cached_property
    def culprit(self) -> Attempt | None:
        """The attempt that made the latest try fail; None: the try has not failed so far."""
        return _culprit(self.latest.values())

    @property
    def how(self) -> str:
        """How the latest try's first failed attempt ended: "failed", "lost" or "cancelled"."""
        culprit = self.culprit
        return "" if culprit is None else str(culprit.verdict or culprit.phase)

    @cached_property
    def failures(self) -> tuple[Attempt, ...]:
        """For each failed try, the attempt that made it fail."""
        culprits = (_culprit(attempts) for _, attempts in sorted(self.tries.items()))
        return tuple(attempt for attempt in culprits if attempt is not None)

    @property
    def has_failed(self) -> bool:
        """Whether the latest try cannot succeed any more."""
        return self.culprit is not None or not (self.is_whole and (self.is_live or self.is_done))

    def is_tried_again(self) -> bool:
        """Whether another try follows a failed one. A try that was cut short does not count."""
        first = self.stages[0]
        return self.culprit is None or lifecycle_of(first).is_tried_again(first, self.failures)

    def status(self, *, is_cancelled: bool) -> dict[str, StageStatus]:
        """The status of each stage after at least one try. No stage is over before all are."""
        again = not is_cancelled and self.has_failed and self.is_tried_again()
        return {s.name: self._status_of(s, again, is_cancelled) for s in self.stages}

    def _status_of(self, stage: Stage, again: bool, is_cancelled: bool) -> StageStatus:
        attempt = self.latest.get(stage.name)
        if attempt is not None and (self.is_done or not attempt.phase.is_final):
            return lifecycle_of(stage).status((attempt,))
        if again or (attempt is None and self.is_live):
            return StageStatus.WAITING
        if not self.has_failed:
            return StageStatus.RUNNING  # it succeeded, and waits for the other parts
        uncounted = is_cancelled and attempt is not None and attempt.cause in UNCOUNTED
        by_itself = attempt is not None and attempt.phase in (Phase.FAILED, Phase.LOST)
        return StageStatus.FAILED if by_itself and not uncounted else StageStatus.CANCELLED


def groups_of(run: Run) -> dict[str, Group]:
    """Stage -> its group, for the stages that are in one."""
    grouped = {kind: LIFECYCLES[kind] for kind in {stage.kind for stage in run.stages}}
    grouped = {kind: found for kind, found in grouped.items() if found.group_hosts is not None}
    if not grouped:
        return {}
    groups = (_made(name, stages, run) for name, stages in _members(run, grouped).items())
    return {stage.name: group for group in groups for stage in group.stages}


def mates(stages: Sequence[Stage]) -> dict[str, tuple[str, ...]]:
    """Stage -> all stages of its group, itself included, for the stages that are in one."""
    members: dict[str, list[str]] = {}
    for stage in stages:
        if lifecycle_of(stage).group_hosts is not None:
            members.setdefault(lifecycle_of(stage).group_of(stage), []).append(stage.name)
    return {name: tuple(names) for names in members.values() for name in names}


def _members(run: Run, grouped: Mapping[str, Lifecycle]) -> dict[str, list[Stage]]:
    members: dict[str, list[Stage]] = {}
    for stage in run.stages:
        if stage.kind in grouped and stage.name not in run.kept:
            members.setdefault(grouped[stage.kind].group_of(stage), []).append(stage)
    return members


def _made(name: str, stages: Sequence[Stage], run: Run) -> Group:
    names = {stage.name for stage in stages}
    tries: dict[int, tuple[Attempt, ...]] = {}
    for attempt in run.attempts:
        if attempt.stage in names:
            tries[attempt.number] = (*tries.get(attempt.number, ()), attempt)
    hosts = lifecycle_of(stages[0]).group_hosts
    assert hosts is not None
    return Group(name, tuple(stages), hosts, tries)


def _culprit(attempts: Iterable[Attempt]) -> Attempt | None:
    """The first failed attempt, except those that were stopped because of another one."""
    failed = [attempt for attempt in attempts if _has_failed(attempt)]
    return min(failed, key=_when, default=None)


def _has_failed(attempt: Attempt) -> bool:
    if attempt.phase is Phase.COLLECTING:
        return attempt.verdict is not Phase.SUCCEEDED
    return attempt.phase.is_final and attempt.phase is not Phase.SUCCEEDED


def _when(attempt: Attempt) -> tuple[bool, float]:
    ended = math.inf if attempt.finished_at is None else attempt.finished_at
    return attempt.cause is Cause.DEPENDENCY, ended
