"""Rebuilds the runs of a lost database from the copies on hosts (`hostler daemon recover`);
`merging` is for a restored backup.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hostler.model.files import Artifact
from hostler.model.hosts import Look, Workload
from hostler.model.pipelines import Cause
from hostler.model.runs import Attempt, Phase, Run
from hostler.model.service_wishes import Wishes, newest_wishes, with_replicas

REPLACED = "a later attempt of its stage started since, so this one had ended"
GPU_GIVEN = "another attempt started on its GPUs since, so this one had ended"


def as_followed(attempt: Attempt, known: Iterable[Attempt]) -> Attempt:
    """An attempt as its host has noted it. If a later attempt of its stage is known, perhaps from
    another host, this one has ended."""
    if attempt.phase.is_final or not any(is_earlier(attempt, other) for other in known):
        return attempt
    return had_ended(attempt, REPLACED)


def is_earlier(one: Attempt, other: Attempt) -> bool:
    """Whether both are attempts of one stage, and the first one began earlier."""
    same_stage = (one.run_id, one.stage) == (other.run_id, other.stage)
    return same_stage and one.number < other.number


def had_ended(attempt: Attempt, why: str) -> Attempt:
    """The end of an attempt that is open in its own notes, with the reason `why`."""
    return replace(
        attempt, phase=Phase.LOST, cause=Cause.VANISHED, detail=why, finished_at=attempt.placed_at
    )


def given_gpus(attempts: Iterable[Attempt]) -> frozenset[str]:
    """Attempts that are at work in their own notes, but whose GPUs a later attempt got."""
    at_work = sorted((a for a in attempts if a.phase.is_at_work), key=lambda a: a.placed_at)
    latest = {(a.host, gpu): a.placed_at for a in at_work for gpu in a.gpus}
    return frozenset(
        a.attempt_id for a in at_work for gpu in a.gpus if a.placed_at < latest[a.host, gpu]
    )


@dataclass(frozen=True, slots=True)
class Note:
    """One note on a host: an attempt at that time, and users' requests for its run."""

    attempt: Attempt
    cancelled_by: str | None = None
    priority: int = 0
    artifacts: tuple[Artifact, ...] = ()
    """The saved files of a final attempt."""
    services: Wishes = field(default_factory=dict)
    """User requests for the services of the run that differ from its file."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The copies and notes of one run on one host."""

    host: str
    run: Run
    """The run as it was submitted, without attempts."""
    pipeline_text: str
    notes: tuple[Note, ...] = ()
    """In the order in which they were written."""
    spec_doubt: str = ""
    """Why the specification has no valid signature; "": the daemon signed it."""
    notes_doubt: str = ""
    """The same for the notes."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A run, rebuilt from the data on hosts."""

    run: Run
    pipeline_text: str
    hosts: tuple[str, ...]
    running: tuple[str, ...] = ()
    """Stages whose workload runs now."""
    doubts: tuple[str, ...] = ()
    """Why a host may have forged this run or a part of it; empty: this daemon signed all of it."""
    artifacts: tuple[Artifact, ...] = ()
    """Its saved files, from signed notes only: a host must not name blobs of other runs."""


@dataclass(frozen=True, slots=True)
class Stray:
    """A workload of this daemon that no note explains: it continues untouched."""

    host: str
    workload: Workload


@dataclass(frozen=True, slots=True)
class Recovery:
    """All data of a lost database that the hosts have."""

    runs: tuple[Rebuilt, ...]
    """Oldest first."""
    strays: tuple[Stray, ...] = ()
    ignored: tuple[str, ...] = ()
    """A sentence for each unsigned specification that is ignored because the same run has a signed
    one."""


def rebuild(
    kept: Sequence[Kept], looks: Mapping[str, Look], daemon_id: str, known: Collection[str] = ()
) -> Recovery:
    """The runs that the hosts know and the database (`known`) does not.

    An attempt that began and has no noted end is open again, as after a kill of the daemon between
    intent and start: the planner then finds out how it ended.
    """
    by_run: dict[str, list[Kept]] = {}
    for item in kept:
        if item.run.run_id not in known:
            by_run.setdefault(item.run.run_id, []).append(item)
    ours = [
        Stray(host, workload)
        for host, look in looks.items()
        for workload in look.workloads
        if workload.daemon_id == daemon_id
    ]
    running = {(s.host, s.workload.attempt_id) for s in ours if s.workload.running}
    runs = sorted(
        (_rebuilt(items, running) for items in by_run.values()), key=lambda r: r.run.submitted_at
    )
    explained = {a.attempt_id for rebuilt in runs for a in rebuilt.run.attempts}
    strays = tuple(
        stray
        for stray in ours
        if stray.workload.attempt_id not in explained
        and stray.workload.attempt_id.partition("-")[0] not in known
    )
    ignored = tuple(said for items in by_run.values() for said in _ignored(items))
    return Recovery(tuple(runs), strays, ignored)


def with_gpus_once(runs: Sequence[Rebuilt]) -> tuple[Rebuilt, ...]:
    """The runs, which are recovered together. An attempt whose GPUs another attempt got later is
    ended: the daemon was lost before it could note that end. Data that a host may have forged ends
    no attempt."""
    signed = [rebuilt.run for rebuilt in runs if not rebuilt.doubts]
    ended = given_gpus(attempt for run in signed for attempt in run.attempts)
    return tuple(
        replace(rebuilt, run=replace(rebuilt.run, attempts=tuple(
            had_ended(a, GPU_GIVEN) if a.attempt_id in ended else a for a in rebuilt.run.attempts
        )))
        for rebuilt in runs
    )  # fmt: skip


def is_covered(attempt: Attempt, kept: Kept | None) -> bool:
    """Whether the signed notes of a host contain everything that its daemon knows about an
    attempt."""
    if kept is None or kept.spec_doubt or kept.notes_doubt:
        return False
    noted = [n.attempt for n in kept.notes if n.attempt.attempt_id == attempt.attempt_id]
    return any(known.phase.is_final or not attempt.phase.is_final for known in noted)


def _ignored(items: Sequence[Kept]) -> Iterator[str]:
    if any(not item.spec_doubt for item in items):
        for item in items:
            if item.spec_doubt:
                copy = f"its copy of run {item.run.run_id}"
                yield f"{item.host}: {copy} is not used, {item.spec_doubt}"


def _doubts(items: Sequence[Kept]) -> Iterator[str]:
    is_signed = any(not item.spec_doubt for item in items)
    for item in items:
        if item.spec_doubt and not is_signed:
            yield f"{item.host}: {item.spec_doubt}"
        if item.notes_doubt:
            yield f"{item.host}: {item.notes_doubt}"
    if not is_signed and len({(repr(item.run), item.pipeline_text) for item in items}) > 1:
        yield f"hosts hold different specifications of it: this is the one of {items[0].host}"


def _rebuilt(items: Sequence[Kept], running: Collection[tuple[str, str]]) -> Rebuilt:
    first = next((item for item in items if not item.spec_doubt), items[0])
    notes = [note for item in items for note in item.notes]
    services = newest_wishes([*(n.services for n in notes), *(i.run.services for i in items)])
    stages = with_replicas(first.run.stages, services)
    attempts = _attempts(items, {stage.name for stage in stages})
    run = replace(
        first.run,
        stages=stages,
        services=services,
        attempts=attempts,
        cancelled_by=next((n.cancelled_by for n in notes if n.cancelled_by is not None), None),
        priority=min((n.priority for n in notes), default=first.run.priority),
    )
    return Rebuilt(
        run,
        first.pipeline_text,
        tuple(sorted({item.host for item in items})),
        tuple(a.stage for a in attempts if (a.host, a.attempt_id) in running),
        tuple(_doubts(items)),
        tuple(artifact for item in items for artifact in noted_artifacts(item)),
    )


def noted_artifacts(kept: Kept) -> tuple[Artifact, ...]:
    """The saved files of attempts that the signed notes of a host name."""
    if kept.notes_doubt or kept.spec_doubt:
        return ()
    found = {
        (artifact.attempt_id, artifact.kind, artifact.name): artifact
        for note in kept.notes
        for artifact in note.artifacts
        if artifact.attempt_id == note.attempt.attempt_id
    }
    return tuple(found.values())


def _attempts(items: Iterable[Kept], stages: Collection[str]) -> tuple[Attempt, ...]:
    """The attempts by their newest notes, each under the current name of its host."""
    found: dict[str, Attempt] = {}
    for item in items:
        for note in item.notes:
            attempt = replace(note.attempt, host=item.host)
            before = found.get(attempt.attempt_id)
            if attempt.stage in stages and (before is None or not before.phase.is_final):
                found[attempt.attempt_id] = attempt
    known = [as_followed(attempt, found.values()) for attempt in found.values()]
    return tuple(sorted(known, key=lambda a: (a.placed_at, a.attempt_id)))
