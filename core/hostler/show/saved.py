"""The line "saved: ..." at a run's end: how many files are named, sizes, and the command that
fetches them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hostler.base.dates import clock_text
from hostler.base.text import first_of
from hostler.base.units import counted, format_size

if TYPE_CHECKING:
    from hostler.model.views.kept import KeptArtifact, KeptEntry, KeptView, RemainderView
    from hostler.model.views.runs import RunView

_MOST = 5


def saved_lines(run: RunView, kept: KeptView) -> list[str]:
    """ "saved: model.pt (12 MB), runs/ (3 files); hostler get rxbvmwd"; another line for what lies
    on hosts, with its date. `kept` is the `hostler.kept/1` object."""
    newest = {stage.attempt.attempt_id for stage in run.stages if stage.attempt}
    several = len(run.stages) > 1
    artifacts = [a for a in kept.artifacts if a.attempt_id in newest and a.present]
    lines = []
    for what, is_here in (("saved", False), ("new in its folder", True)):
        own = [artifact for artifact in artifacts if (artifact.kind == "here") is is_here]
        if own:
            lines.append(f"{what}: {_told(own, several)}; hostler get {run.run_id}")
    left = [each for each in kept.remainders if each.attempt_id in newest]
    lines += [
        f"on {each.host}{_until(each.goes_at)}: {_left(each)}; hostler get {run.run_id}"
        for each in left[:_MOST]
    ]
    if len(left) > _MOST:
        lines.append(f"and {len(left) - _MOST} more stages: hostler get {run.run_id} --list")
    return lines


def _told(artifacts: Sequence[KeptArtifact], several: bool) -> str:
    """The files by name; if several stages have many files, their number."""
    texts = [text for artifact in artifacts for text in _texts(artifact, several)]
    stages = {artifact.stage for artifact in artifacts}
    if len(texts) <= _MOST or len(stages) == 1:
        return first_of(texts, _MOST)
    partial = {artifact.stage for artifact in artifacts if artifact.partial}
    files = counted(sum(artifact.files for artifact in artifacts), "file")
    size = format_size(sum(artifact.size for artifact in artifacts))
    more = f", {counted(len(partial), 'stage')} partial" if partial else ""
    return f"{files} of {counted(len(stages), 'stage')} ({size}{more})"


def _until(at: float | None) -> str:
    """None: a user keeps it."""
    return "" if at is None else f" until {clock_text(at)[:10]}"


def _texts(artifact: KeptArtifact, several: bool) -> Iterator[str]:
    """ "model.pt (12 MB)" or "train: model (2 files, partial)"."""
    stage = f"{artifact.stage}: " if several else ""
    partial = ", partial" if artifact.partial else ""
    for entry in artifact.entries or ():
        yield f"{stage}{entry.name} ({_extent(entry, entry.name)}{partial})"
    if not artifact.entries:
        yield f"{stage}{artifact.name} ({_extent(artifact, '/')}{partial})"


def _extent(what: KeptArtifact | KeptEntry, name: str) -> str:
    """For a folder the number of files, for a file its size."""
    if not name.endswith("/") or what.files == 1:
        return format_size(what.size)
    return counted(what.files, "file")


def _left(remainder: RemainderView) -> str:
    names = list(remainder.names[:_MOST])
    more = remainder.files - len(names)
    if not names:
        names, more = [counted(more, "file")], 0
    told = ", ".join(names) + (f" and {more} more" if more > 0 else "")
    return f"{told} ({format_size(remainder.size)})"
