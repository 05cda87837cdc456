"""Which stored logs, sources and outputs are deleted, in which order, and for how long new ones are
safe (1 hour); `decide.expiry` does this for files on hosts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class RetentionLimits:
    """How long stored files are kept. None: forever."""

    logs_for: float | None = 90 * _DAY
    """Seconds after the end of a run."""
    outputs_for: float | None = 30 * _DAY
    """Seconds after the end of the last run that uses an output."""
    content_bytes: int | None = None
    """Over this size, outputs of ended runs are deleted whatever their age; those that ended first
    go first."""
    young_for: float = 3600.0
    """Seconds for which a new blob is not deleted, since its run may not be stored yet."""


@dataclass(frozen=True, slots=True)
class RunUse:
    """The storage that one run uses or needs."""

    run_id: str
    finished_at: float | None
    """When it ended; None: it has not ended, and its files must stay."""
    log_bytes: int = 0
    snapshot: str | None = None
    """Digest of its source, needed while the run exists, so that a rerun uploads nothing."""
    outputs: tuple[str, ...] = ()
    """Digests of outputs that it made, or took from an earlier run."""
    is_kept: bool = False
    """Whether a user keeps the whole run."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A file in the content store."""

    size: int
    taken_in: float


@dataclass(frozen=True, slots=True)
class GcPlan:
    """What to delete, and how many bytes this frees."""

    logs: tuple[str, ...] = ()
    """Run ids; the run that ended first comes first."""
    blobs: tuple[str, ...] = ()
    """Digests, sorted."""
    log_bytes: int = 0
    blob_bytes: int = 0
    young: int = 0
    """Number of unneeded blobs that are too new to be deleted: their run may not be stored yet."""
    young_bytes: int = 0
    young_until: float | None = None
    """When the last of them may be deleted."""

    @property
    def freed(self) -> int:
        """Freed bytes in all."""
        return self.log_bytes + self.blob_bytes


def plan_gc(
    runs: Sequence[RunUse], blobs: Mapping[str, Blob], limits: RetentionLimits, now: float
) -> GcPlan:
    """What may be deleted now.

    Logs of a run that is open or kept stay, and so do outputs that such a run uses. A snapshot
    stays while any run that was submitted with it exists.
    """
    logs = [run for run in runs if run.log_bytes and _is_over(run, limits.logs_for, now)]
    logs.sort(key=lambda run: (run.finished_at or 0.0, run.run_id))
    doomed = _doomed_blobs(runs, blobs, limits, now)
    young = _doomed_blobs(runs, blobs, replace(limits, young_for=0.0), now) - doomed
    return GcPlan(
        logs=tuple(run.run_id for run in logs),
        blobs=tuple(sorted(doomed)),
        log_bytes=sum(run.log_bytes for run in logs),
        blob_bytes=sum(blobs[digest].size for digest in doomed),
        young=len(young),
        young_bytes=sum(blobs[digest].size for digest in young),
        young_until=max((blobs[d].taken_in + limits.young_for for d in young), default=None),
    )


def without_unknown(
    blobs: Mapping[str, Blob], runs: Sequence[RunUse], before: float
) -> dict[str, Blob]:
    """The blobs without those that are older than `before` and that no run uses: a restored
    database does not know the runs that saved them."""
    known = {digest for run in runs for digest in (*run.outputs, run.snapshot)}
    return {d: blob for d, blob in blobs.items() if d in known or blob.taken_in > before}


def _doomed_blobs(
    runs: Sequence[RunUse], blobs: Mapping[str, Blob], limits: RetentionLimits, now: float
) -> set[str]:
    snapshots = {run.snapshot for run in runs}
    used = {digest for run in runs for digest in run.outputs}
    idle_since = _idle_since(runs, snapshots)
    old = {
        digest for digest, blob in blobs.items() if blob.taken_in <= now - limits.young_for
    } - snapshots
    doomed = {digest for digest in old if digest not in used}
    if limits.outputs_for is not None:
        ended_before = now - limits.outputs_for
        doomed |= {d for d in old if d in idle_since and idle_since[d] <= ended_before}
    if limits.content_bytes is not None:
        total = sum(blob.size for digest, blob in blobs.items() if digest not in doomed)
        candidates = sorted((idle_since[d], d) for d in old if d in idle_since and d not in doomed)
        for _, digest in candidates:
            if total <= limits.content_bytes:
                break
            doomed.add(digest)
            total -= blobs[digest].size
    return doomed


def _idle_since(runs: Sequence[RunUse], snapshots: set[str | None]) -> dict[str, float]:
    """Outputs that only ended runs use, none of them kept -> when the last of these runs ended."""
    idle: dict[str, float] = {}
    busy: set[str] = set()
    for run in runs:
        for digest in run.outputs:
            if run.is_kept or run.finished_at is None:
                busy.add(digest)
            else:
                idle[digest] = max(idle.get(digest, 0.0), run.finished_at)
    return {d: at for d, at in idle.items() if d not in busy and d not in snapshots}


def _is_over(run: RunUse, allowed: float | None, now: float) -> bool:
    if allowed is None or run.is_kept or run.finished_at is None:
        return False
    return run.finished_at <= now - allowed
