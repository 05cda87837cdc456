"""What the daemon asks about a kind of stage (retries, pauses, allowed keys, replicas), one module
for each kind, found through one table. Pure.

Planner, daemon and the reader of pipeline.toml ask the kind of a stage here and never compare its
name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from hostler.decide.causes import Ending
from hostler.decide.lifecycle.build import Build
from hostler.decide.lifecycle.gate import Gate
from hostler.decide.lifecycle.service import Service
from hostler.decide.lifecycle.task import Task
from hostler.model.pipelines import GroupHosts, Scalar, Stage, StageKind
from hostler.model.runs import Attempt, StageStatus


class Lifecycle(Protocol):
    """The behaviour of a kind of stage. `Task` has the usual behaviour: derive from it."""

    @property
    def keys(self) -> Mapping[str, str]:
        """Keys of pipeline.toml that this kind requires and no other kind allows, each with an
        example."""

    @property
    def optional(self) -> Mapping[str, str]:
        """Keys that this kind may have and no other kind, each with an example."""

    @property
    def takes(self) -> frozenset[str] | None:
        """All keys that it may have, those of `resources` as `resources.NAME`; others have no
        effect. None: all except those of other kinds."""

    @property
    def inherits_not(self) -> frozenset[str]:
        """Keys of `takes` that only the stage itself can set; [defaults] does not apply to them."""

    @property
    def makes_image(self) -> bool:
        """Whether other stages may name it as their `image`."""

    @property
    def runtime(self) -> str | None:
        """The runtime that its hosts need; None: the keys of the stage decide."""

    @property
    def has_workload(self) -> bool:
        """Whether a container or process on its host does the work: it is started by claim, create,
        bind and start, observed there, and stopped there. Otherwise the daemon itself does the work
        (daemon/inline.py): at a start, and again when it resumes the attempt. At a stop it breaks
        the work off."""

    def unfold(self, stage: Stage) -> tuple[Stage, ...]:
        """The stages that this one in the file stands for: itself, or identical parts (replicas,
        ranks), named `NAME.0`, `NAME.1`, ... with the same base. The database allows one open
        attempt per stage: a stage with several at once has to unfold."""

    @property
    def group_hosts(self) -> GroupHosts | None:
        """On which hosts the stages of a group are placed; None: stages of this kind are in no
        group. The stages of a group are placed, started, retried and settled together
        (decide/groups.py)."""

    def group_of(self, stage: Stage) -> str:
        """The name of the stage's group within its run, if it is in a group."""

    def status(self, tries: Sequence[Attempt]) -> StageStatus:
        """The status of a stage after these attempts (at least one). A FAILED stage may still be
        retried."""

    def judge(
        self,
        stage: Stage,
        ended: Ending,
        metrics: Mapping[str, float],
        params: Mapping[str, Scalar],
    ) -> Ending:
        """The verdict on the end of an attempt. `ended`: the verdict by exit code, signal and stop
        reason."""

    def lets_go(self, status: StageStatus, tries: Sequence[Attempt]) -> bool:
        """Whether the stages that need this one may start."""

    def is_tried_again(self, stage: Stage, tries: Sequence[Attempt]) -> bool:
        """Whether a stage gets another attempt after its last one, which is final and failed."""

    def not_before(self, stage: Stage, tries: Sequence[Attempt], ended_at: float) -> float | None:
        """When the next attempt may start at the earliest; None: at once. `ended_at`: when the last
        one ended."""

    def stops_siblings(self, stage: Stage) -> bool:
        """Whether the final failure of this stage ends the other stages of the same base."""

    def keeps_run_open(self, status: StageStatus) -> bool:
        """Whether a stage with this status keeps its run open."""


LIFECYCLES: dict[str, Lifecycle] = {
    StageKind.TASK: Task(),
    StageKind.GATE: Gate(),
    StageKind.BUILD: Build(),
    StageKind.SERVICE: Service(),
}
"""Every kind of stage, by its name in pipeline.toml."""


def has_groups(stages: Iterable[Stage]) -> bool:
    """Whether any stage is of a kind whose stages form groups."""
    return any(LIFECYCLES[kind].group_hosts is not None for kind in {s.kind for s in stages})


def lifecycle_of(stage: Stage) -> Lifecycle:
    """The lifecycle of a stage's kind."""
    return LIFECYCLES[stage.kind]


_Parts = Mapping[str, tuple[Stage, ...]]
"""Stage of the file -> its parts: replicas of a service and ranks of a gang are stages of their
own, as the cells of a matrix are. So each has attempts, logs, leases and labels of its own."""


def unfolded(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages with each in as many parts as its kind says, in the same order. A stage that needs
    another one needs all of its parts."""
    parts = {stage.name: lifecycle_of(stage).unfold(stage) for stage in stages}
    several = {name: found for name, found in parts.items() if found[0].name != name}
    whole = tuple(part for stage in stages for part in parts[stage.name])
    return tuple(_referring(part, several) for part in whole) if several else whole


def _referring(stage: Stage, several: _Parts) -> Stage:
    """The stage, with every reference to a stage in several parts replaced by references to the
    parts."""
    if several.keys().isdisjoint(stage.needs):
        return stage  # each input is also a need
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
