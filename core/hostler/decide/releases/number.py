"""The number of replicas of a release: from its file, or as set by `hostler scale`.
Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as Collection
from dataclasses import dataclass, replace

from hostler.model.pipelines import Stage
from hostler.model.runs import Run


@dataclass(frozen=True, slots=True)
class Number:
    """The number of replicas of a release."""

    replicas: int
    told: str = ""
    """The number and its reason, for people, if the service was scaled; "": it was not."""


def number_for(new: int, live: int | None, scaled: int) -> Number:
    """The number of replicas of a new release. `new` and `live`: the numbers in the files of the
    new and the live release; None: no release is live. `scaled`: how many replicas are wanted now.
    A scaled number stays until a file changes its own number."""
    if live is None or scaled == live:
        return Number(new)
    if not scaled:
        return Number(new, f"{new}, as the file says (it was scaled to 0)")
    if new == live:
        return Number(scaled, f"{scaled}, as it was scaled (the file says {new})")
    return Number(new, f"{new}, as the file says now (it was scaled to {scaled})")


def in_file(run: Run | None) -> int | None:
    """How many replicas the file of a run asks for."""
    stage = _service(run) if run is not None else None
    return stage.service.replicas if stage is not None and stage.service is not None else None


def resized(run: Run, replicas: int) -> Run:
    """The run, with `replicas` replicas of its service."""
    first = _service(run)
    if first is None:
        return run
    old = {stage.name for stage in run.stages if stage.service is not None}
    made = tuple(replace(first, name=f"{first.base}.{number}") for number in range(replicas))
    names, at = [stage.name for stage in made], run.stages.index(first)
    others = [_needing(s, old, names) if s.service is None else None for s in run.stages]
    before, after = (filter(None, part) for part in (others[:at], others[at:]))
    return replace(run, stages=(*before, *made, *after))


def _needing(stage: Stage, old: Collection[str], names: Sequence[str]) -> Stage:
    """The stage; if it needs the service, it needs all of the new replicas."""
    if old.isdisjoint(stage.needs):
        return stage
    needs = (*(name for name in stage.needs if name not in old), *names)
    is_ended = not old.isdisjoint(stage.needs_ended)
    ended = (*(n for n in stage.needs_ended if n not in old), *(names if is_ended else ()))
    return replace(stage, needs=needs, needs_ended=type(stage.needs_ended)(ended))


def _service(run: Run) -> Stage | None:
    return next((stage for stage in run.stages if stage.service is not None), None)
