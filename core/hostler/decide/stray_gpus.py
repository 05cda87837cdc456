"""Which attempts use a GPU that they were not given: how long they must be seen computing there,
exceptions (such as MPS), and the message. Pure.

Processes see all GPUs of their host, so a command that sets CUDA_VISIBLE_DEVICES may take a GPU of
another person. An attempt is a stray on a GPU if it computes there in two looks that are ten
seconds apart, by the host's own clock. Many programs only leave some memory on GPU 0 by mistake.
These are only reported, like every use that may have another reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hostler.base.text import clean_line
from hostler.decide.holders import Holder, holders, program
from hostler.decide.index import OpenAttempt
from hostler.model.hosts import Gpu, GpuProcess, Host, Lease, Look, Workload
from hostler.model.plans import Policy, Stray
from hostler.model.runtimes import traits_of

APART_S = 10.0
"""An attempt is a stray on a GPU if it computes there in two looks this far apart."""
WITHIN_S = 60.0
"""Two such looks that are further apart count as separate starts."""
_MPS = ("nvidia-cuda-mps-server", "nvidia-cuda-mps-control", "nvidia-cuda-mps")
_VARIABLE = "CUDA_VISIBLE_DEVICES"

Spot = tuple[str, str]
"""Attempt and GPU (UUID)."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """When an attempt was seen on a GPU that it was not given, in seconds since the host's boot."""

    since: float
    computed_since: float | None = None
    """The time of the first look in which it computes there."""
    computed_at: float | None = None
    """The time of the last such look."""


@dataclass(frozen=True, slots=True)
class Sightings:
    """All sightings on one host since its boot."""

    boot_id: str = ""
    spots: Mapping[Spot, Sighting] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Use:
    """An attempt on one GPU that it was not given, in one look."""

    attempt_id: str
    gpu: Gpu
    own: tuple[int, ...]
    """Indices of the GPUs that it was given."""
    computes: bool
    is_meant: bool
    """Whether only the command can be the reason: the daemon may then stop its processes."""
    visible: str | None = None


def uses(host: Host, policy: Policy, daemon_id: str, open_here: Sequence[OpenAttempt]) -> list[Use]:
    """Which of our attempts the last look shows on GPUs that they were not given, and that no other
    attempt of the same person holds."""
    look = host.look
    there = _by_spot(look) if look is not None else {}
    if look is None or not there:
        return []
    held = holders(host, policy, daemon_id, open_here)
    signs = _signs(look)
    found: list[Use] = []
    for item in open_here:
        if _may_stray(item, look):
            found += _uses_of(item, look, there, held, signs)
    return found


def _by_spot(look: Look) -> dict[Spot, list[GpuProcess]]:
    """(attempt, GPU) -> its processes that the host reports as strays; none in containers."""
    found: dict[Spot, list[GpuProcess]] = {}
    for gpu in look.gpus:
        for process in gpu.processes:
            if process.attempt_id is not None and _counts(process):
                found.setdefault((process.attempt_id, gpu.uuid), []).append(process)
    return found


def _counts(process: GpuProcess) -> bool:
    if process.stray is None or process.kind != "compute" or not process.exists:
        return False
    return process.container_id is None


class _Signs(NamedTuple):
    """Facts of a look about all of its GPUs."""

    users: Mapping[str, set[str | None]]
    """GPU -> the attempts whose processes are on it; None among them: other processes."""
    mps: set[str]
    """GPUs on which NVIDIA's Multi-Process Service computes for others."""
    renumbers: bool
    """Whether CUDA may number the GPUs differently than Hostler assumes."""


def _signs(look: Look) -> _Signs:
    mps = {g.uuid for g in look.gpus if any(program(p) in _MPS for p in g.processes)}
    return _Signs(
        {g.uuid: {p.attempt_id for p in g.processes} for g in look.gpus},
        mps,
        bool(mps) or any(g.mig or g.problem for g in look.gpus),
    )


def _may_stray(item: OpenAttempt, look: Look) -> bool:
    """Whether an attempt can be a stray: no container, and no GPU that cannot be distinguished from
    the others (a part of a GPU, or a missing one, which changes the numbers of the others)."""
    attempt, known = item.attempt, {gpu.uuid for gpu in look.gpus}
    may = traits_of(attempt.runtime).sees_all_gpus and attempt.phase.is_at_work
    return may and all(uuid in known for uuid in attempt.gpus)


def _uses_of(
    item: OpenAttempt,
    look: Look,
    spots: Mapping[Spot, Sequence[GpuProcess]],
    held: Mapping[str, tuple[Holder, ...]],
    signs: _Signs,
) -> Iterator[Use]:
    attempt = item.attempt
    own = tuple(gpu.index for gpu in look.gpus if gpu.uuid in attempt.gpus)
    for gpu in look.gpus:
        there = spots.get((attempt.attempt_id, gpu.uuid), ())
        if not there or gpu.uuid in attempt.gpus or gpu.mig:
            continue  # Hostler gives no parts of GPUs, so the user chose this one
        if any(_is_own(holder, item, there) for holder in held.get(gpu.uuid, ())):
            continue
        is_alone = not look.left_out and signs.users[gpu.uuid] == {attempt.attempt_id}
        working = [p for p in there if _computes(p, gpu, is_alone)]
        yield Use(
            attempt.attempt_id,
            gpu,
            own,
            bool(working),
            gpu.uuid not in signs.mps and any(_is_meant(p, own, signs) for p in working),
            next((p.stray.visible for p in working or there if p.stray is not None), None),
        )


def _is_own(holder: Holder, item: OpenAttempt, there: Sequence[GpuProcess]) -> bool:
    """Whether the same person holds the GPU: by another attempt, by hand, or by another daemon
    under the same login."""
    source = holder.source
    if isinstance(source, OpenAttempt):
        return source.run.uid == item.run.uid
    if not isinstance(source, (Workload, Lease)):
        return False
    if holder.owner == item.run.owner:
        return True
    user = source.user if isinstance(source, Lease) and not holder.ours else None
    return user is not None and any(p.user == user for p in there)


def _computes(process: GpuProcess, gpu: Gpu, is_alone: bool) -> bool:
    """Whether the process computes: by its own share of the GPU's time. If that is unknown, the
    GPU's load counts, but only if the attempt is alone there."""
    assert process.stray is not None
    if process.stray.load is not None:
        return process.stray.load > 0
    return is_alone and bool(gpu.utilization)


def _is_meant(process: GpuProcess, own: Sequence[int], signs: _Signs) -> bool:
    """Whether the attempt started the process and only its command chose the GPU. If it has the
    numbers that it was given, changes of other GPUs may have changed their meaning for CUDA."""
    assert process.stray is not None
    if not process.stray.in_tree:
        return False
    return not (signs.renumbers and _has_given(process.stray.visible, own))


def _has_given(visible: str | None, own: Sequence[int]) -> bool:
    """Whether the variable names GPUs that the attempt was given, or no GPU if it has none."""
    if visible is None:
        return False
    names = {name.strip() for name in visible.split(",") if name.strip()}
    return names <= {str(index) for index in own} and bool(names) == bool(own)


def sighted(before: Sightings, found: Iterable[Use], look: Look) -> Sightings:
    """The sightings after another look. Sightings that this look does not show are dropped, except
    those of an attempt that computed shortly before."""
    now = look.up
    if now is None:  # the host has no such clock
        return Sightings(look.boot_id)
    known = before.spots if before.boot_id == look.boot_id else {}
    spots: dict[Spot, Sighting] = {}
    for use in found:
        spot = (use.attempt_id, use.gpu.uuid)
        spots[spot] = _seen_again(known.get(spot, Sighting(now)), use, now)
    for spot, sighting in known.items():  # it may start short processes one after another
        at = sighting.computed_at
        if spot not in spots and at is not None and 0 <= now - at <= WITHIN_S:
            spots[spot] = sighting
    return Sightings(look.boot_id, spots)


def _seen_again(before: Sighting, use: Use, now: float) -> Sighting:
    if not use.computes:
        return before
    at = before.computed_at
    goes_on = at is not None and 0 <= now - at <= WITHIN_S
    return replace(
        before, computed_since=before.computed_since if goes_on else now, computed_at=now
    )


def strays(seen: Sightings, found: Iterable[Use], host: str, look: Look) -> dict[str, Stray]:
    """Attempt -> what to report, and whether to stop it."""
    told: dict[str, Stray] = {}
    for use in found:
        sighting = seen.spots.get((use.attempt_id, use.gpu.uuid))
        if sighting is None or look.up is None or look.up - sighting.since < APART_S:
            continue
        stray = _stray(use, sighting, host)
        before = told.get(use.attempt_id)
        if before is None or (stray.ends, stray.computes) > (before.ends, before.computes):
            told[use.attempt_id] = stray
    return told


def _stray(use: Use, sighting: Sighting, host: str) -> Stray:
    begun, at = sighting.computed_since, sighting.computed_at
    confirmed = use.computes and begun is not None and at is not None and at - begun >= APART_S
    own = ",".join(map(str, use.own))
    given = f"GPU {own}" if own else "none"
    where = f"on GPU {use.gpu.index} of {host}, which it was not given (given: {given})"
    return Stray(use.gpu.uuid, f"{where}: {_cause(use)}", confirmed, confirmed and use.is_meant)


def _cause(use: Use) -> str:
    first = "" if use.own else "request GPUs for it, and "
    if use.visible and not _has_given(use.visible, use.own):
        return f"it sets {_VARIABLE}={clean_line(use.visible, 40)}; {first}remove that"
    return f"its code chooses the GPU itself; {first}use those that {_VARIABLE} names"
