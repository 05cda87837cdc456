"""Kinds of stage that exist in tests only: they show that a kind fits by a module and a few lines.

with toy_kinds():
    stage(kind="forever", env={"REPLICAS": "2"})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

from hostler.decide.causes import Ending
from hostler.decide.lifecycle import LIFECYCLES
from hostler.decide.lifecycle.task import Task
from hostler.model.pipelines import KINDS, Cause, GroupHosts, Scalar, Stage
from hostler.model.runs import Attempt, Phase, StageStatus


class Service(Task):
    """Ready rather than ended: it keeps its run open, and is replaced whenever it ends."""

    def unfold(self, stage: Stage) -> tuple[Stage, ...]:
        """Its replicas."""
        return parts(stage, int(stage.env.get("REPLICAS", "1")))

    def judge(
        self,
        stage: Stage,
        ended: Ending,
        metrics: Mapping[str, float],
        params: Mapping[str, Scalar],
    ) -> Ending:
        """Exit code 0 is no success."""
        if ended[0] is Phase.SUCCEEDED:
            return Phase.FAILED, Cause.USER_ERROR, "a service does not end by itself"
        return ended

    def lets_go(self, status: StageStatus, tries: Sequence[Attempt]) -> bool:
        """Once it says that it is ready."""
        return tries[-1].phase is Phase.RUNNING and tries[-1].metrics.get("ready", 0.0) > 0.5

    def is_tried_again(self, stage: Stage, tries: Sequence[Attempt]) -> bool:
        """For ever."""
        return True

    def not_before(self, stage: Stage, tries: Sequence[Attempt], ended_at: float) -> float | None:
        """After a pause that does not grow."""
        return ended_at + stage.retries.backoff

    def stops_siblings(self, stage: Stage) -> bool:
        """A replica that is dead is no reason to end the others."""
        return False


class Gang(Task):
    """Its ranks are placed, started, retried and settled together, each on a host of its own."""

    group_hosts = GroupHosts.DISTINCT

    def unfold(self, stage: Stage) -> tuple[Stage, ...]:
        """Its ranks."""
        return parts(stage, int(stage.env.get("RANKS", "2")))

    def group_of(self, stage: Stage) -> str:
        """Each cell of a matrix has ranks of its own."""
        return stage.name.rpartition(".")[0] or stage.name


class Team(Gang):
    """The same on one host."""

    group_hosts = GroupHosts.SAME


def parts(stage: Stage, count: int) -> tuple[Stage, ...]:
    """A stage in so many parts."""
    if count == 1:
        return (stage,)
    return tuple(replace(stage, name=f"{stage.name}.{number}") for number in range(count))


TOYS: dict[str, Task] = {"forever": Service(), "gang": Gang(), "team": Team()}


@contextmanager
def toy_kinds() -> Iterator[None]:
    """While the table of kinds holds them."""
    with patch.dict(LIFECYCLES, TOYS):
        KINDS.update(TOYS)
        try:
            yield
        finally:
            KINDS.difference_update(TOYS)
