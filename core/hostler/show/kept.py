"""Sentences on a run's files: whether it is kept, what stays on hosts until when, and what a
removal loses. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hostler.base.dates import clock_text
from hostler.base.units import counted, format_size

if TYPE_CHECKING:
    from hostler.model.views.kept import KeptArtifact, KeptView, RemainderView
    from hostler.model.views.runs import RunDetail

_MOST_NAMES = 3


def kept_line(kept: KeptView) -> str:
    """Whether a run is kept, and which files."""
    run_id, by = kept.run_id, kept.by
    if by is None:
        return f"{run_id}: no longer kept; the usual limits apply"
    ends = "" if kept.until is None else f" until {clock_text(kept.until)}"
    return f"{run_id}: kept by {by}{ends}: {', '.join(_parts(kept))}"


def shown_lines(run: RunDetail) -> list[str]:
    """For a run object: who keeps the run, and where its files stay."""
    keep, lines = run.keep, []
    if keep is not None:
        ends = "" if keep.until is None else f" until {clock_text(keep.until)}"
        lines.append(f"kept by {keep.by}{ends}")
    for left in run.staying:
        stay = "stays" if left.files == 1 else "stay"
        lines.append(
            f"{left.stage}: {counted(left.files, 'file')} ({format_size(left.size)}) "
            f"{stay} on {left.host}:{left.path}{_end(left.goes_at)}"
        )
    return lines


def staying_lines(kept: KeptView) -> list[str]:
    """Files that stay on hosts: which, where, and until when."""
    return [
        f"{kept.run_id}: {_names(left)} ({format_size(left.size)}) on {left.host}:"
        f"{left.path}{_end(left.goes_at)}"
        for left in kept.remainders
    ]


def loss_lines(kept: KeptView) -> list[str]:
    """The unfetched files of a run, and the files that a removal deletes on hosts."""
    saved = [a for a in _stored(kept) if a.fetched_at is None and a.present]
    lines = []
    if saved:
        size = format_size(sum(artifact.size for artifact in saved))
        names = [f"{artifact.stage} {artifact.name}" for artifact in saved]
        lines.append(f"{kept.run_id}: not fetched: {_some(names)} ({size})")
    for left in kept.remainders:
        fetched = "fetched" if left.fetched_at is not None else "not fetched"
        lines.append(
            f"{kept.run_id}: {fetched}, and removed from {left.host}: {_names(left)} "
            f"({format_size(left.size)})"
        )
    return lines


def _stored(kept: KeptView) -> list[KeptArtifact]:
    """Files in the user's own folder do not count: Hostler never keeps or removes them."""
    return [artifact for artifact in kept.artifacts if artifact.kind != "here"]


def _parts(kept: KeptView) -> list[str]:
    """The kept files, in short."""
    present = [artifact for artifact in _stored(kept) if artifact.present]
    gone = len(_stored(kept)) - len(present)
    parts = ["logs and source"]
    if present:
        size = format_size(sum(artifact.size for artifact in present))
        parts.append(f"{counted(len(present), 'output')} or kept files ({size})")
    for left in kept.remainders:
        parts.append(f"{_names(left)} ({format_size(left.size)}) on {left.host}")
    if gone:
        parts.append(f"{counted(gone, 'output')} already removed")
    return parts


def _end(goes_at: float | None) -> str:
    return "" if goes_at is None else f" until {clock_text(goes_at)}"


def _names(left: RemainderView) -> str:
    names, number = left.names, left.files
    if not names:
        return counted(number, "file")
    more = number - 1
    return str(names[0]) + (f" and {counted(more, 'more file')}" if more > 0 else "")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
