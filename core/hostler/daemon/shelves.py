"""Where the files of a run's attempts are, in the store or on which host, and which stage and
attempt a name means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hostler.base.errors import InputError, NotFoundError
from hostler.base.text import first_of
from hostler.model.files import Artifact, RunFile, Where
from hostler.model.pipelines import Stage
from hostler.model.records import Remainder
from hostler.model.runs import Attempt, Phase, Run
from hostler.ports import ArchiveSource
from hostler.store.saved import ListedFile

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Shelf:
    """Files of one attempt in one place."""

    stage: Stage
    attempt: Attempt
    where: Where
    artifact: Artifact | None = None
    remainder: Remainder | None = None
    folder: str | None = None
    """The folder of the files on the host, for users."""
    until: float | None = None
    """The files stay there at least until this time."""

    @property
    def declared(self) -> str:
        """The artifact's original path in the working folder."""
        if self.artifact is None or self.artifact.kind != "output":
            return ""
        return self.stage.outputs.get(self.artifact.name, self.artifact.name)

    @property
    def kind(self) -> str:
        """What kind of files these are."""
        if self.artifact is not None:
            return self.artifact.kind
        return "running" if self.where is Where.RUNNING else "left"

    def is_called(self, artifact: str | None) -> bool:
        """Whether it contains the artifact of that name; None: any artifact."""
        return artifact is None or (self.artifact is not None and self.artifact.name == artifact)

    def file(
        self, path: str, listed: ListedFile | None = None, *, link: str | None = None,
        size: int = 0, mtime: float | None = None,
    ) -> RunFile:  # fmt: skip
        """One of its files."""
        on_host = self.where is not Where.SAVED
        return RunFile(
            stage=self.stage.name,
            attempt_id=self.attempt.attempt_id,
            attempt=self.attempt.number,
            where=self.where,
            artifact=self.artifact.name if self.artifact else None,
            kind=self.kind,
            partial=self.artifact is not None and self.artifact.partial,
            path=path,
            size=listed.size if listed else size,
            sha256=(listed.sha256 or None) if listed else None,
            mode=listed.mode if listed else None,
            link=link,
            mtime=mtime,
            host=self.attempt.host if on_host else None,
            folder=self.folder,
            until=self.until,
        )


def stages_named(run: Run, name: str | None) -> tuple[Stage, ...]:
    """The stage of that name, all its cells, or all stages. Raises NotFoundError."""
    if name is None:
        return run.stages
    found = tuple(s for s in run.stages if s.name == name)
    found = found or tuple(s for s in run.stages if s.base == name)
    if not found:
        raise NotFoundError(
            f"run {run.run_id} has no stage {name!r}", remedy=f"its stages: {_names(run.stages)}"
        )
    return found


def one_stage(run: Run, name: str) -> Stage:
    """The one stage of that name. Raises NotFoundError, or InputError if it has cells."""
    found = stages_named(run, name)
    if len(found) > 1:
        raise InputError(f"{name} has {len(found)} cells", remedy=f"name one: {_names(found)}")
    return found[0]


def attempts_of(run: Run, stage: Stage, number: int | None) -> list[Attempt]:
    """The attempts of a stage (or the one of that number), the newest first; including a kept
    one."""
    tries = [attempt for attempt in run.attempts if attempt.stage == stage.name]
    if not tries and stage.name in run.kept:
        tries = [run.kept[stage.name]]
    if number is not None:
        tries = [attempt for attempt in tries if attempt.number == number]
    return sorted(tries, key=lambda attempt: attempt.number, reverse=True)


def shelves_of(run: Run, stage: Stage, attempt: Attempt, own: Sequence[Artifact]) -> list[Shelf]:
    """The known files of an attempt with these artifacts; declared outputs first."""
    return [
        Shelf(stage, attempt, Where.HERE, a, folder=run.source.path)
        if a.kind == "here"
        else Shelf(stage, attempt, Where.SAVED, a)
        for a in sorted(own, key=lambda a: (a.kind != "output", a.name))
    ]


def has_folder(attempt: Attempt) -> bool:
    """Whether it has a working folder on its host now."""
    return attempt.ref is not None and not attempt.phase.is_final and (
        attempt.phase is not Phase.STARTING
    )  # fmt: skip


def source_of(run: Run, shelf: Shelf, path: str) -> ArchiveSource:
    """A path in the working folder of an attempt, for its host."""
    attempt = shelf.attempt
    return ArchiveSource(
        attempt.attempt_id,
        attempt.runtime,
        shelf.remainder.ref if shelf.remainder else attempt.ref or "",
        path,
        here=run.source.path if shelf.stage.code == "here" else None,
        snapshot=run.source.digest,
    )


def _names(stages: Sequence[Stage]) -> str:
    return first_of([stage.name for stage in stages], _SHOWN)
