"""Files of runs for those who fetch them: named, listed, opened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from hostler.daemon.context import Context
from hostler.daemon.file_readers import (
    FileReader,
    HostFileReader,
    HostTurns,
    SavedFileReader,
)
from hostler.daemon.shelves import (
    Shelf,
    attempts_of,
    has_folder,
    one_stage,
    shelves_of,
    source_of,
    stages_named,
)
from hostler.errors import InputError, NotFoundError
from hostler.model.files import FileEntry
from hostler.model.pipelines import Stage
from hostler.model.records import Artifact
from hostler.model.run_files import FilePage, RunFile, Where
from hostler.model.runs import Run
from hostler.runtimes.contract import relative
from hostler.store.saved import SavedArchives

PAGE = 5_000
"""Files in one answer."""


@dataclass(frozen=True, slots=True)
class FolderView:
    """What lies in one folder of a stage."""

    stage: str
    attempt_id: str
    where: Where
    path: str
    entries: tuple[FileEntry, ...]
    truncated: bool


@dataclass(slots=True)
class _Pager:
    """Takes the files of one page out of all of them, in their order."""

    after: int
    seen: int = 0
    files: list[RunFile] = field(default_factory=list)
    truncated: bool = False
    has_more: bool = False

    def skips(self, count: int) -> bool:
        """Whether these files all lie before the page; then they count as seen."""
        skips = self.seen + count <= self.after
        self.seen += count if skips else 0
        return skips

    def add(self, file: RunFile) -> None:
        """The next file."""
        self.seen += 1
        if self.seen > self.after and len(self.files) < PAGE:
            self.files.append(file)
        elif self.seen > self.after:
            self.has_more = True

    def page(self) -> FilePage:
        """What it took."""
        reached = self.after + len(self.files)
        return FilePage(tuple(self.files), self.truncated, reached if self.has_more else None)


class Files:
    """The files of runs, wherever they lie."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._saved = SavedArchives(context.content)
        self._turns = HostTurns()

    async def page(self, run: Run, name: str | None, after: int) -> FilePage:
        """Files of a run, or of a stage of it; what a running stage has is listed where that stage
        is named.

        Raises NotFoundError, and a HostError where a host does not answer.
        """
        pager = _Pager(after)
        for shelf in await self._shelves(run, stages_named(run, name)):
            if pager.has_more:
                break
            if shelf.where is not Where.RUNNING:
                await self._add_saved(pager, shelf)
            elif name is not None:
                await self._add_running(pager, run, shelf)
        return pager.page()

    async def open(
        self, run: Run, name: str, path: str, artifact: str | None, number: int | None
    ) -> FileReader:
        """One file, by its path in the working folder, of that attempt or the newest that has it.

        Raises NotFoundError, InputError, and a HostError where its host does not answer.
        """
        stage, inside = one_stage(run, name), _inside(path)
        shelves = await self._shelves(run, [stage], number)
        for shelf in shelves:
            if shelf.where is not Where.RUNNING and shelf.is_called(artifact):
                reader = await self._open_saved(run, shelf, inside)
                if reader is not None:
                    return reader
        for shelf in shelves:
            if shelf.where is Where.RUNNING and artifact is None:
                return await self._open_on_host(run, shelf, inside)
        raise NotFoundError(
            f"{stage.name} of run {run.run_id} has no file {path}",
            remedy=f"hostler get {run.run_id}/{stage.name} --list names its files",
        )

    async def folder(self, run: Run, name: str, path: str) -> FolderView:
        """One folder of a stage: as it is now of one that runs, else what was saved of it.

        Raises NotFoundError, and a HostError where its host does not answer.
        """
        stage, inside = one_stage(run, name), _inside(path, folder=True)
        shelves = await self._shelves(run, [stage])
        for shelf in shelves:
            if shelf.where is Where.RUNNING:
                source = source_of(run, stage, shelf.attempt, inside)
                found = await self._context.link(shelf.attempt.host).list_files(source, False)
                return _view(shelf, inside, found.entries, found.truncated)
        for shelf in shelves:
            newest = [s for s in shelves if s.attempt is shelf.attempt]
            files = [file for each in newest async for file in self._files_of(each)]
            entries = level(files, inside)
            if entries:
                return _view(shelf, inside, entries, False)
        nothing = f"no {inside} in it" if inside else "no files"
        raise NotFoundError(
            f"{stage.name} of run {run.run_id} has {nothing}",
            remedy=f"see what became of it: hostler why {run.run_id}/{stage.name}",
        )

    async def note_fetched(
        self, run: Run, name: str, attempt_id: str, artifact: str | None
    ) -> None:
        """Remember that a person has all files of an artifact of an attempt, or of what it left on
        its host. Raises NotFoundError where there is no such thing."""
        store, now = self._context.store, self._context.clock.now()
        for shelf in await self._shelves(run, [one_stage(run, name)]):
            if shelf.attempt.attempt_id != attempt_id or shelf.where is Where.RUNNING:
                continue
            if artifact is not None and shelf.artifact and shelf.artifact.name == artifact:
                await store.mark_fetched(attempt_id, shelf.artifact.digest, now)
                return
        raise NotFoundError(f"{attempt_id} has no artifact {artifact}")

    async def _shelves(
        self, run: Run, stages: Sequence[Stage], number: int | None = None
    ) -> list[Shelf]:
        """All that there is of these stages, of each the newest attempt first."""
        made: dict[str, list[Artifact]] = defaultdict(list)
        for run_id in {run.run_id, *(attempt.run_id for attempt in run.kept.values())}:
            for artifact in await self._context.store.artifacts(run_id):
                if self._context.content.has(artifact.digest):  # else it is past its time
                    made[artifact.attempt_id].append(artifact)
        shelves: list[Shelf] = []
        for stage in stages:
            for attempt in attempts_of(run, stage, number):
                shelves += shelves_of(stage, attempt, made[attempt.attempt_id])
                if has_folder(attempt):
                    shelves.append(Shelf(stage, attempt, Where.RUNNING))
        return shelves

    async def _files_of(self, shelf: Shelf) -> AsyncIterator[RunFile]:
        assert shelf.artifact is not None
        try:
            saved = await self._saved.files(shelf.artifact, shelf.declared)
        except NotFoundError:
            return  # past its time: it went with a gc
        for path, listed in saved.files.items():
            yield shelf.file(path, listed)
        for path, target in saved.links.items():
            yield shelf.file(path, link=target)

    async def _add_saved(self, pager: _Pager, shelf: Shelf) -> None:
        assert shelf.artifact is not None
        if pager.skips(shelf.artifact.files):
            return
        async for file in self._files_of(shelf):
            pager.add(file)

    async def _add_running(self, pager: _Pager, run: Run, shelf: Shelf) -> None:
        source = source_of(run, shelf.stage, shelf.attempt, "")
        found = await self._context.link(shelf.attempt.host).list_files(source, True)
        pager.truncated |= found.truncated
        for entry in found.entries:
            if entry.kind == "file":
                pager.add(shelf.file(entry.path, size=entry.size, mtime=entry.mtime))

    async def _open_saved(self, run: Run, shelf: Shelf, path: str) -> FileReader | None:
        assert shelf.artifact is not None
        try:
            saved = await self._saved.files(shelf.artifact, shelf.declared)
            if path not in saved.files:
                return None
            if shelf.where is Where.HERE:
                return await self._open_on_host(run, shelf, path)
            return SavedFileReader(await self._saved.open(shelf.artifact, saved, path))
        except NotFoundError:
            return None  # it was removed

    async def _open_on_host(self, run: Run, shelf: Shelf, path: str) -> FileReader:
        source = source_of(run, shelf.stage, shelf.attempt, path)
        link = self._context.link(shelf.attempt.host)
        reader = HostFileReader(link, source, shelf.where, self._turns)
        await reader.open()
        return reader


def level(files: list[RunFile], folder: str) -> tuple[FileEntry, ...]:
    """What of these files lies directly in a folder; folders in it once, with all they hold."""
    found: dict[str, FileEntry] = {}
    for file in files:
        if folder and not file.path.startswith(folder + "/"):
            continue
        name, slash, _ = file.path[len(folder) + bool(folder) :].partition("/")
        kind = "folder" if slash else "link" if file.link is not None else "file"
        held = found[name].size if name in found else 0
        found[name] = FileEntry(name, kind, held + file.size, file.mtime or 0.0, file.sha256)
    return tuple(found[name] for name in sorted(found))


def _view(shelf: Shelf, path: str, entries: tuple[FileEntry, ...], truncated: bool) -> FolderView:
    name, attempt_id = shelf.stage.name, shelf.attempt.attempt_id
    return FolderView(name, attempt_id, shelf.where, path, entries, truncated)


def _inside(path: str, *, folder: bool = False) -> str:
    clean = relative(path)
    if not clean and not folder:
        raise InputError("a file needs a name")
    return clean
