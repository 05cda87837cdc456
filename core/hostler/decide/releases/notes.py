"""The notes about services on hosts: the 5 earlier releases that are kept with their images, limits
of a note, and which host's note is valid. Pure.

A host may repeat any signed note, hide the last one, or invent one. So the newest signed note about
a service counts, whichever host has it. An unsigned note counts only if a person allows it, and
only if there is no signed one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hostler.model.releases import (
    Release,
    ReleaseState,
    ServiceNote,
    Slot,
    Step,
    StepKind,
    is_service_name,
)

TARGETS = 5
"""Earlier releases that a service can go back to after its database was lost, and whose images are
kept."""
_STEPS = 500
"""Most steps of a live release in a note: old drains do not matter."""
_RUN_ID = re.compile(r"[a-z0-9]{1,32}", re.ASCII)
_MOST_REPLICAS = 1000
_MOST_RELEASES = TARGETS + 3
_MOST_STEPS = 20_000
_MOST_NAME = 200


def targets(releases: Iterable[Release]) -> tuple[Release, ...]:
    """The releases that a service can go back to, the newest first."""
    retired = (r for r in releases if r.state is ReleaseState.RETIRED)
    return tuple(sorted(retired, key=lambda r: -r.number)[:TARGETS])


def noted(live: int | None, releases: Sequence[Release]) -> tuple[Release, ...]:
    """The releases of a service that its note contains, the newest first: the next release is
    numbered after that one."""
    newest = max((r.number for r in releases), default=0)
    wanted = {live, newest} | {r.number for r in targets(releases)}
    found = (r for r in releases if r.number in wanted or r.state.is_open)
    return tuple(sorted(found, key=lambda r: -r.number))


def noted_steps(steps: Sequence[Step], *, is_open: bool) -> tuple[Step, ...]:
    """The steps of a service that its note contains: all of an open release, because they define
    what it may do."""
    return tuple(steps if is_open else steps[-_STEPS:])


@dataclass(frozen=True, slots=True)
class Told:
    """The note of one host about a service."""

    host: str
    note: ServiceNote
    doubt: str = ""
    """Why the note does not count as the daemon's own; "": the daemon signed it."""


@dataclass(frozen=True, slots=True)
class Found:
    """The valid note about a service, and the hosts that have it."""

    note: ServiceNote
    hosts: tuple[str, ...]
    doubts: tuple[str, ...] = ()
    """Why a host may have forged it; empty: the daemon signed it."""

    @property
    def name(self) -> str:
        """The name of the service."""
        return self.note.deployment.name


def choose(told: Sequence[Told], known: Mapping[str, int]) -> tuple[tuple[Found, ...], list[str]]:
    """For each service, the note that counts if it is newer than the database, and sentences about
    ignored notes. `known`: service -> its revision in the database."""
    found, ignored = [], []
    for name in sorted({each.note.deployment.name for each in told}):
        mine = [each for each in told if each.note.deployment.name == name]
        signed = [each for each in mine if not each.doubt]
        best = max(signed or mine, key=lambda each: each.note.order)
        for each in mine if signed else ():
            if each.doubt:
                said = f"its note about service {name} is not used, {each.doubt}"
                ignored.append(f"{each.host}: {said}")
        if name not in known or best.note.deployment.revision > known[name]:
            found.append(_found(best, signed or mine))
    return tuple(found), ignored


def _found(best: Told, others: Sequence[Told]) -> Found:
    same = [each for each in others if each.note == best.note]
    doubts = dict.fromkeys(f"{each.host}: {each.doubt}" for each in same if each.doubt)
    if best.doubt and len(same) < len(others):
        doubts[f"hosts hold different notes about it: this is the one of {best.host}"] = None
    return Found(best.note, tuple(sorted({each.host for each in same})), tuple(doubts))


def misfit(note: ServiceNote) -> str:
    """Why a daemon cannot have written a note; "": it is valid. The signature shows the author, but
    a key may be stolen. So no value in it becomes a path or a command before this check."""
    checks = (_of_service, _of_releases, _of_steps)
    return next(filter(None, (check(note) for check in checks)), "")


def _of_service(note: ServiceNote) -> str:
    deployment = note.deployment
    if not is_service_name(deployment.name) or len(deployment.owner) > _MOST_NAME:
        return "it names no service"
    in_range = 0 <= deployment.replicas <= _MOST_REPLICAS
    if not in_range or min(deployment.revision, note.generation, deployment.uid) < 0:
        return "its numbers are out of range"
    return ""


def _of_releases(note: ServiceNote) -> str:
    deployment, numbers = note.deployment, [r.number for r in note.releases]
    live = [r.number for r in note.releases if r.state is ReleaseState.LIVE]
    opened = [r.number for r in note.releases if r.state.is_open]
    lock = [] if deployment.lock is None else [deployment.lock.number]
    if not numbers or len(numbers) > _MOST_RELEASES or len(set(numbers)) < len(numbers):
        return "it has no releases, too many, or one twice"
    if live != ([] if deployment.live is None else [deployment.live]) or opened != lock:
        return "its releases do not fit its service"
    if not note.specs.keys() <= {r.run_id for r in note.releases}:
        return "it has specifications of other runs"
    return next(filter(None, (_of_release(r, deployment.name) for r in note.releases)), "")


def _of_release(release: Release, name: str) -> str:
    in_range = 1 <= release.replicas <= _MOST_REPLICAS and 0 <= release.surge <= _MOST_REPLICAS
    if release.number < 1 or release.uid < 0 or not in_range:
        return "the numbers of a release are out of range"
    if release.service != name or not _RUN_ID.fullmatch(release.run_id):
        return "it has a release of something else"
    return ""


def _of_steps(note: ServiceNote) -> str:
    deployment = note.deployment
    told_of = deployment.live if deployment.lock is None else deployment.lock.number
    if len(note.steps) > _MOST_STEPS:
        return "it has too many steps"
    seqs = [step.seq for step in note.steps]
    if sorted(set(seqs)) != seqs:
        return "its steps are not in order"
    for step in note.steps:
        is_state = step.kind is StepKind.STATE
        if step.service != deployment.name or step.number != told_of:
            return "it has a step of something else"
        if is_state != (step.state is not None) or is_state == (step.slot is not None):
            return "a step says nothing"
        if not all(_is_slot(slot) for slot in (step.slot, step.successor)):
            return "a step names no slot"
    return ""


def _is_slot(slot: Slot | None) -> bool:
    return slot is None or (slot.release >= 1 and 0 <= slot.index < _MOST_REPLICAS)
