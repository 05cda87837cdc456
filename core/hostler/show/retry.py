"""What a retry keeps and runs again, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from hostler.base.table import Column
from hostler.base.units import format_value

RETRY_COLUMNS = (
    Column("STAGE", flex=True, least=8),
    Column("RETRY", flex=True, least=10),
    Column("WHY", flex=True, least=16),
)
_MOST_NAMED = 20
_FROM_CELLS = 4
"""So many cells of a stage, and more, are told by their number."""

Plan = Mapping[str, Any]
Stage = Mapping[str, Any]


def retry_row(stage: Stage) -> list[str]:
    """One stage of a plan."""
    if stage["kept"]:
        return [str(stage["label"]), f"kept from {stage['kept_from']}", "it succeeded"]
    how = "runs again, without its checkpoint" if stage.get("anew") else "runs again"
    return [str(stage["label"]), how, str(stage["why"])]


def retry_lines(plan: Plan) -> list[str]:
    """What is kept, what runs again and why, and which parameters are others now."""
    stages: Sequence[Stage] = plan["stages"]
    kept = [stage for stage in stages if stage["kept"]]
    again = [stage for stage in stages if not stage["kept"]]
    anew = [stage for stage in again if stage.get("anew")]
    lines = [
        f"kept: {_listed(_names(kept))}",
        f"runs again: {_listed(_names(again, with_why=True))}",
    ]
    if anew:
        lines.append(f"begins without its checkpoint: {_listed(_names(anew))}")
    return [*lines, *param_lines(plan)]


def param_lines(plan: Plan) -> list[str]:
    """The parameters that are others now."""
    return [_param_line(name, pair) for name, pair in plan["params"].items()]


def _param_line(name: str, pair: Mapping[str, Any]) -> str:
    before, now = pair["before"], pair["now"]
    if now is None:
        return f"{name}: the pipeline file has no such parameter any more"
    was = "new" if before is None else f"was {format_value(before)}"
    return f"{name} = {format_value(now)} ({was})"


def _names(stages: Iterable[Stage], *, with_why: bool = False) -> Iterator[str]:
    """Each stage's name; of many cells that run for the same reason, their number."""
    for (base, why), group in groupby(stages, key=lambda s: (s["base"], s.get("why", ""))):
        members = list(group)
        tail = f" ({why})" if with_why and why else ""
        if len(members) >= _FROM_CELLS:
            yield f"{base}, {len(members)} cells{tail}"
        else:
            yield from (f"{member['name']}{tail}" for member in members)


def stage_names(stages: Iterable[Stage]) -> str:
    """Stages in one line."""
    return _listed(_names(stages))


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return "; ".join(found[:_MOST_NAMED]) + more or "nothing"
