"""The lines of `hostler why`: the sentence, a line for each host, what would let it start, and
how many cells are explained. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostler.model.views.plans import WhyStage, WhyView

_CELLS_TOLD = 3


def answer_lines(found: WhyView, *, single: bool) -> list[str]:
    """The answer for all stages of a run, or (`single`) those that a name means.

    Cells of a matrix in the same state are shown once, by the first of them.
    """
    stages = found.stages
    groups: dict[tuple[str, str], list[WhyStage]] = {}
    for stage in stages:
        groups.setdefault((stage.base or stage.name, stage.status), []).append(stage)
    lines = []
    for (base, status), members in groups.items():
        # Every host's reason is for what waits, and for the one stage that is asked about.
        whole = single or len(stages) == 1 or status == "waiting"
        told = members if len(members) <= _CELLS_TOLD and status != "waiting" else members[:1]
        for stage in told:
            lines += why_lines(stage, whole=whole)
        if len(told) < len(members):
            rest = f"{base}: {len(members) - len(told)} more {_have(status)} (see one: hostler why "
            lines.append(f"{rest}{found.run_id or 'RUN'}/{members[-1].name})")
    return [*lines, found.gpu_models] if found.gpu_models else lines


def _have(status: str) -> str:
    return f"{'have' if status in ('succeeded', 'failed') else 'are'} {status}"


def why_lines(stage: WhyStage, *, whole: bool) -> list[str]:
    """The sentence; with `whole` also one line per host and what would start at once."""
    lines = [f"{stage.label}: {stage.sentence}"]
    reason = stage.reason
    if not reason or not whole:
        return lines
    lines += [f"  {host.host}: {host.sentence}" for host in reason.hosts]
    if reason.nearest:
        lines.append(f"  would start now: {reason.nearest}")
    return lines
