"""Lines of a plan in the submit form: where stages would run, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hostler.base.table import cell_width, pad
from hostler.base.text import clean
from hostler.model.views.plans import PlanView
from hostler.show.plan import alike_folded, plan_row
from hostler_tui.lines import Line, wrapped


def plan_lines(plan: PlanView, width: int) -> list[Line]:
    """Stage, host and GPUs in columns; the reason in the next line if there is no space beside."""
    planned = [plan_row(stage) for stage in plan.stages]
    rows = [list(map(clean, row)) for row in alike_folded(planned)]
    if not rows:
        return [(("The pipeline has no stages.", "warn"),)]
    wide = [min(30, max(cell_width(row[n]) for row in rows)) for n in range(3)]
    left = width - sum(wide) - 6
    lines: list[Line] = [_row(("STAGE", "HOST", "GPUS", "WHY"), wide, left, "dim")[0]]
    for row in rows:
        lines += _row(row, wide, left, "warn" if row[1] == "waits" else "")
    return [*lines, (), ((_count(rows, len(planned)), "title"),)]


def _row(cells: Sequence[str], wide: Sequence[int], left: int, role: str) -> list[Line]:
    head = "  ".join(pad(cell, size) for cell, size in zip(cells, wide, strict=False))
    if cell_width(cells[3]) <= left:
        return [((head, ""), ("  " + cells[3], role))]
    return [((head, ""),), *wrapped(cells[3], sum(wide) + 6 + left, "    ", role)]


def _count(rows: Sequence[Sequence[str]], stages: int) -> str:
    waits = sum(1 for row in rows if row[1] == "waits")
    all_of = "1 stage" if stages == 1 else f"{stages} stages"
    return f"{all_of}; nothing is started yet" + (f"; {waits} rows would wait" if waits else "")
