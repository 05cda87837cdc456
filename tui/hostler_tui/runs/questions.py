"""Texts of dialogs about runs (cancel, retry, rerun, priority): effects, when a number has to be
typed, the equivalent command. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from hostler.base.text import first_of
from hostler.base.units import format_age
from hostler.model.views.runs import RunView
from hostler.show.progress import where

_ENDED_WELL = ("succeeded", "skipped")


@dataclass(frozen=True, slots=True)
class Question:
    """The question for `Confirm`."""

    text: str
    effects: tuple[str, ...]
    yes: str
    command: str
    typed: str = ""
    """The text that the user has to type; "" if an answer is enough."""


def cancel_question(runs: Sequence[RunView], uid: int, now: float | None = None) -> Question:
    """A dialog for one's own run. For another user's, or several: their number has to be typed."""
    at = time.time() if now is None else now
    ids = [run.run_id for run in runs]
    if len(runs) == 1:
        effects = _cancel_effects(runs[0], at)
    else:
        effects = [_cancel_effect(run) for run in runs]
    others = [run for run in runs if run.uid != uid]
    if others:
        owners = ", ".join(sorted({run.owner for run in others}))
        effects.insert(0, f"Not yours: {owners} may need it")
    several = len(runs) > 1
    return Question(
        f"Cancel {len(runs)} runs?" if several else f"Cancel run {ids[0]} of {runs[0].owner}?",
        tuple(effects),
        "cancel them" if several else "cancel it",
        " ".join(["hostler cancel", *ids, *(["--yes"] if several else [])]),
        str(len(runs)) if several or others else "",
    )


def _cancel_effect(run: RunView) -> str:
    """In one line."""
    active = sum(1 for stage in run.stages if stage.status in ("running", "starting"))
    waiting = sum(1 for stage in run.stages if stage.status == "waiting")
    what = f"{active} running stage{'' if active == 1 else 's'} stopped, {waiting} never started"
    return f"{run.run_id} {run.pipeline} of {run.owner}: {what}"


def _cancel_effects(run: RunView, now: float) -> list[str]:
    """The effects of a cancel on a run."""
    active = [stage for stage in run.stages if stage.status in ("running", "starting")]
    waiting = sum(1 for stage in run.stages if stage.status == "waiting")
    spent = format_age(now - run.submitted_at)
    lines = [f"{run.run_id} {run.pipeline} of {run.owner}, {spent} old:"]
    for stage in active[:4]:
        label = stage.label or stage.name
        lines.append(f"{label} is stopped on {where(stage.attempt, {})}")
    if len(active) > 4:
        lines.append(f"{len(active) - 4} more stages are stopped")
    if waiting:
        lines.append(
            f"{waiting} pending stage{'' if waiting == 1 else 's'} never "
            f"start{'s' if waiting == 1 else ''}"
        )
    return [*lines, "collected outputs, logs and metrics are kept"]


def retry_question(run: RunView) -> Question:
    """The question about a new run of the stages that did not succeed."""
    stages = run.stages
    again = [stage for stage in stages if stage.status not in _ENDED_WELL]
    kept = sum(1 for stage in stages if stage.status == "succeeded")
    names = [stage.label or stage.name for stage in again]
    shown = first_of(names, 6)
    return Question(
        f"Run the unsuccessful stages of {run.run_id} of {run.owner} again?",
        (
            f"A new run of {run.pipeline}: {shown or 'nothing is left to do'}",
            f"{kept} that succeeded {'is' if kept == 1 else 'are'} kept, with their original code",
        ),
        "run it",
        f"hostler retry {run.run_id}",
    )


def priority_lines(run: RunView) -> tuple[str, ...]:
    """The effect of a lower priority."""
    return (
        f"{run.run_id} {run.pipeline} of {run.owner}, priority {run.priority}",
        "Its pending stages wait for stages with a higher priority; running stages continue.",
        "It can only be lowered.",
    )


def rerun_lines(run: RunView) -> tuple[str, ...]:
    """The effect of a rerun."""
    folder = run.source.path or "the folder it came from"
    return (
        f"A new run of all {len(run.stages)} stages of {run.pipeline}, "
        f"like {run.run_id} of {run.owner}.",
        f"The current code is packed from {folder}.",
    )
