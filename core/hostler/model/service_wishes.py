"""Changes that people request for a running service: replicas, end time, stop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from hostler.model.pipelines import Stage

MOST_OF_REPLICA = 20
"""Ended attempts of a replica that an open run shows."""


@dataclass(frozen=True, slots=True)
class ServiceWish:
    """The requests for one service of a run. None: as its file says."""

    replicas: int | None = None
    scaled_by: str = ""
    until: float | None = None
    """When it ends."""
    stopped: str = ""
    """Why it ends, for people: "by ana", "its time is up"; "": it keeps running."""
    at: float = 0.0
    """When it was last changed: of several notes from hosts the newest counts."""


class WishChange(TypedDict, total=False):
    """Fields of a wish that change, each named as there."""

    replicas: int | None
    scaled_by: str
    until: float | None
    stopped: str
    at: float


Wishes = Mapping[str, ServiceWish]
"""By the name of the stage in the pipeline file."""


def newest_wishes(told: Iterable[Wishes]) -> dict[str, ServiceWish]:
    """The newest requests for each service."""
    found: dict[str, ServiceWish] = {}
    for wishes in told:
        for base, wish in wishes.items():
            if base not in found or wish.at > found[base].at:
                found[base] = wish
    return found


def number_of(stage: Stage) -> int:
    """The number of the replica that a stage is, from 0."""
    return int(stage.name.rpartition(".")[2])


def why_unwanted(stage: Stage, wishes: Wishes) -> str:
    """Why a replica is no longer wanted, for people; "": it is wanted."""
    wish = wishes.get(stage.base)
    if wish is None:
        return ""
    if wish.stopped:
        return wish.stopped
    wanted = wish.replicas
    if wanted is None or number_of(stage) < wanted:
        return ""
    return f"scaled to {wanted} replica{'s' if wanted != 1 else ''} by {wish.scaled_by}"


def ends_at(stage: Stage, wishes: Wishes, submitted_at: float) -> float | None:
    """When the service of a stage ends; None: not before it is stopped."""
    wish, service = wishes.get(stage.base), stage.service
    if wish is not None and wish.until is not None:
        return wish.until
    if service is None or service.until is None:
        return None
    return submitted_at + service.until


def with_replicas(stages: Sequence[Stage], wishes: Wishes) -> tuple[Stage, ...]:
    """The stages, with a stage for each further wanted replica. No stage is ever dropped: the
    attempts of an unwanted replica stay known."""
    made = list(stages)
    for base, wish in wishes.items():
        known = [stage for stage in made if stage.base == base and stage.service is not None]
        if not known or wish.replicas is None:
            continue
        first = len(known)
        more = (replace(known[0], name=f"{base}.{n}") for n in range(first, wish.replicas))
        at = made.index(known[-1]) + 1
        made[at:at] = more
    return tuple(made)
