"""Stages of one pipeline, unfolded: replicas of a service and ranks of a gang are stages of their
own, as the cells of a matrix are. So each has attempts, logs, leases and labels of its own. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hostler.decide.lifecycle import lifecycle_of
from hostler.model.pipelines import Stage

_Parts = Mapping[str, tuple[Stage, ...]]


def unfolded(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages with each in as many parts as its kind says, in the same order. Whoever needs a
    stage needs all of its parts."""
    parts = {stage.name: lifecycle_of(stage).unfold(stage) for stage in stages}
    several = {name: found for name, found in parts.items() if len(found) > 1}
    whole = tuple(part for stage in stages for part in parts[stage.name])
    return tuple(_referring(part, several) for part in whole) if several else whole


def _referring(stage: Stage, several: _Parts) -> Stage:
    """With every reference to a stage in several parts as references to these."""
    if several.keys().isdisjoint(stage.needs):
        return stage  # an input implies a need
    needs = tuple(name for need in stage.needs for name in _names(need, several))
    ended = frozenset(name for need in stage.needs_ended for name in _names(need, several))
    inputs = {key: tuple(_references(refs, several)) for key, refs in stage.inputs.items()}
    more = {key for key, refs in inputs.items() if len(refs) > len(stage.inputs[key])}
    return replace(stage, needs=needs, needs_ended=ended, inputs=inputs, spread=stage.spread | more)


def _references(references: Sequence[str], several: _Parts) -> Iterator[str]:
    for reference in references:
        name, _, output = reference.rpartition(".")
        yield from (f"{part}.{output}" for part in _names(name, several))


def _names(name: str, several: _Parts) -> Iterator[str]:
    found = several.get(name)
    if found is None:
        yield name
    else:
        yield from (part.name for part in found)
