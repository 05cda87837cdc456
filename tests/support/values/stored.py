"""Small runs and attempts to store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hostler.model.events import EventKind
from hostler.model.pipelines import Cause, Stage
from hostler.model.records import NewEvent
from hostler.model.runs import Attempt, AttemptChange, Event, Phase, Run
from hostler.store.database import Store


def stage(name: str = "train", **changes: Any) -> Stage:
    """A task that runs `true`."""
    made = Stage(name=name, base=name, kind="task", command=("true",))
    return replace(made, **changes)


def run(run_id: str = "raaaaaa", **changes: Any) -> Run:
    """An open run of one stage."""
    made = Run(
        run_id=run_id,
        pipeline="digits",
        stages=(stage(),),
        owner="ana",
        uid=1000,
        submitted_at=100.0,
    )
    return replace(made, **changes)


def attempt(
    run_id: str = "raaaaaa",
    stage_name: str = "train",
    number: int = 1,
    *,
    host: str = "gpu1",
    gpus: tuple[str, ...] = ("GPU-1",),
    phase: Phase = Phase.STARTING,
    **changes: Any,
) -> Attempt:
    """An attempt; a final one that did not succeed has a cause."""
    made = Attempt(
        attempt_id=f"{run_id}-{stage_name}-{number}",
        run_id=run_id,
        stage=stage_name,
        number=number,
        phase=phase,
        host=host,
        gpus=gpus,
        placed_at=110.0,
        runtime="docker",
    )
    if phase in (Phase.FAILED, Phase.LOST):
        made = replace(made, cause=Cause.USER_ERROR)
    return replace(made, **changes)


def event(kind: str = "run.submitted", **changes: Any) -> NewEvent:
    """Something that happened at 100."""
    return replace(NewEvent(at=100.0, kind=EventKind(kind), message=f"{kind} it was"), **changes)


def changes(attempt: Attempt) -> AttemptChange:
    """All fields of an attempt that may change after its intent."""
    return {name: getattr(attempt, name) for name in AttemptChange.__annotations__}  # type: ignore[return-value]


async def put_attempt(store: Store, attempt: Attempt, event: NewEvent | None = None) -> None:
    """Have the store know an attempt, whose intent it has, as it is here."""
    await store.change_attempt(attempt.attempt_id, event, **changes(attempt))


async def last_events(store: Store, limit: int = 100) -> list[Event]:
    """The newest events, in order."""
    return await store.events(await store.seq_before_last(limit), limit=limit)
