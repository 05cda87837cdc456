"""What a retry keeps and runs again and why, in words: its table, changed parameters, and how
many stages are named. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from hostler.base.table import Column
from hostler.base.units import format_value

if TYPE_CHECKING:
    from hostler.model.views.plans import ChangedParam, RetriedStage, RetryView

RETRY_COLUMNS = (
    Column("STAGE", flex=True, least=8),
    Column("RETRY", flex=True, least=10),
    Column("WHY", flex=True, least=16),
)
_MOST_NAMED = 20
_FROM_CELLS = 4
"""This many cells of a stage, or more, are shown as a number only."""


def retry_row(stage: RetriedStage) -> list[str]:
    """One stage of a plan."""
    if stage.kept:
        return [str(stage.label), f"kept from {stage.kept_from}", "it succeeded"]
    how = "runs again, without its checkpoint" if stage.anew else "runs again"
    return [str(stage.label), how, str(stage.why)]


def retry_lines(plan: RetryView) -> list[str]:
    """What is kept, what runs again and why, and which parameters changed."""
    stages: Sequence[RetriedStage] = plan.stages
    kept = [stage for stage in stages if stage.kept]
    again = [stage for stage in stages if not stage.kept]
    anew = [stage for stage in again if stage.anew]
    lines = [
        f"kept: {_listed(_names(kept))}",
        f"runs again: {_listed(_names(again, with_why=True))}",
    ]
    if anew:
        lines.append(f"begins without its checkpoint: {_listed(_names(anew))}")
    return [*lines, *param_lines(plan)]


def param_lines(plan: RetryView) -> list[str]:
    """The changed parameters."""
    return [_param_line(name, pair) for name, pair in plan.params.items()]


def _param_line(name: str, pair: ChangedParam) -> str:
    before, now = pair.before, pair.now
    if now is None:
        return f"{name}: the pipeline file has no such parameter any more"
    was = "new" if before is None else f"was {format_value(before)}"
    return f"{name} = {format_value(now)} ({was})"


def _names(stages: Iterable[RetriedStage], *, with_why: bool = False) -> Iterator[str]:
    return _told((stage.base, stage.name, stage.why if with_why else "") for stage in stages)


def _told(stages: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Each stage's name; for many cells that run for the same reason, their number."""
    for (base, why), group in groupby(stages, key=lambda stage: (stage[0], stage[2])):
        members = list(group)
        tail = f" ({why})" if why else ""
        if len(members) >= _FROM_CELLS:
            yield f"{base}, {len(members)} cells{tail}"
        else:
            yield from (f"{name}{tail}" for _, name, _ in members)


def stage_names(stages: Iterable[tuple[str, str]]) -> str:
    """Stages in one line, each by its base and its name."""
    return _listed(_told((base, name, "") for base, name in stages))


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return "; ".join(found[:_MOST_NAMED]) + more or "nothing"
