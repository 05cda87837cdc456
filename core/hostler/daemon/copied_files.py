"""Copies undeclared files of an ended stage, up to `kept_files` of [limits]; `decide.copied_files`
chooses them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hostler.base.errors import (
    AgentError,
    ConflictError,
    EngineError,
    InputError,
    NotFoundError,
    StateError,
)
from hostler.base.text import clean_line
from hostler.base.units import GIB
from hostler.daemon.context import Context
from hostler.daemon.unanswered import Unanswered
from hostler.decide.copied_files import (
    FILES,
    HERE,
    NOT_READ,
    Choice,
    Staying,
    choose_files,
    not_come,
    over_budget,
    staying,
    unfit_or,
    without,
)
from hostler.decide.fullness import keeps_files
from hostler.model.events import EventKind
from hostler.model.files import Artifact, ChangedFiles, FileEntry, Select
from hostler.model.hosts import Workload
from hostler.model.pipelines import Stage
from hostler.model.runs import Attempt, Phase, Run
from hostler.model.runtimes import traits_of
from hostler.ports import ArchiveSource
from hostler.runtimes.collect import Advance, collect_files
from hostler.runtimes.command import relative
from hostler.store.files import space_of
from hostler.store.saved import ListedFile, Listing, read_listing, write_listing

_TROUBLE = (NotFoundError, InputError, EngineError, AgentError, ConflictError)
"""Errors that never change a verdict. If a host does not answer, the daemon waits for it."""


_FEW = 5
_COARSE_S = 0.05
"""Seconds by which file times may be late: file systems use a coarse clock."""


@dataclass(frozen=True, slots=True)
class Left:
    """An ended attempt, and the values that identify it."""

    run: Run
    attempt: Attempt
    stage: Stage
    source: ArchiveSource
    started_at: float | None
    """Seconds since the epoch, by the host's clock."""
    skip: tuple[str, ...]
    verdict: Phase


class Saver:
    """Copies the new and changed files of a stage, or the files that it names (`keep`)."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reserved: Counter[str] = Counter()
        """Run -> bytes of its attempts that are being copied now."""
        self._unanswered = Unanswered()

    async def save(
        self, run: Run, attempt: Attempt, stage: Stage, workload: Workload, verdict: Phase, *,
        skip: Sequence[str], advance: Advance,
    ) -> Staying | None:  # fmt: skip
        """Copy the files that fit. Returns the files that stay on the host; None: no files stay.
        `skip`: paths of outputs that were copied. Raises Unreachable."""
        source = ArchiveSource(
            attempt.attempt_id, workload.runtime, workload.ref, "",
            here=run.source.path if stage.code == "here" else None,
            snapshot=run.source.digest if stage.code == "snapshot" else None,
        )  # fmt: skip
        more = (stage.checkpoint,) if stage.checkpoint is not None else ()
        left = Left(
            run, attempt, stage, source, workload.started_at, (*map(relative, skip), *more), verdict
        )
        try:
            stays = await self._save(left, advance)
        except _TROUBLE as error:
            self._unanswered.check(attempt, error)
            why = f"the new files in its folder are unknown: {error.message}"
            await self._tell(attempt, why)
            # With `code = "here"` the files are in the user's own folder, which stays.
            stays = None if source.here is not None else Staying(0, 0, (), why)
        self._unanswered.forget(attempt)
        return stays

    async def _save(self, left: Left, advance: Advance) -> Staying | None:
        changed = await self._changed(left, left.stage.keep)
        if left.source.here is not None:
            await self._name(left, changed)
            return None
        there = await self._copied(left.attempt)
        rest = without(changed.files, there)
        why = "the stage did not succeed, and its folder stays"
        if keeps_files(left.stage):
            rest, why = await self._copy(left, rest, advance)
            there |= {
                e.path: e.size for e in without(changed.files, {e.path: e.size for e in rest})
            }
        if left.verdict is not Phase.SUCCEEDED and left.stage.keep is not None:
            everything = await self._changed(left, None)
            rest = without(everything.files, there)
        if changed.truncated:
            why = "there are more files than can be listed, or some with names that look alike"
        return staying(rest, why) if rest or changed.truncated else None

    async def _changed(self, left: Left, globs: tuple[str, ...] | None) -> ChangedFiles:
        context, source = self._context, left.source
        link = context.link(left.attempt.host)
        since = None
        if source.here is not None and left.started_at is not None:
            since = left.started_at - _COARSE_S
        select = Select(globs, left.skip, since)
        try:
            return await link.changed_files(source, select)
        except NotFoundError:
            if not traits_of(source.runtime).has_engine or source.snapshot is None:
                raise
        # The host's cache no longer has the snapshot with which the container is compared.
        await link.put_blob(source.snapshot, context.content.path(source.snapshot))
        return await link.changed_files(source, select)

    async def _copied(self, attempt: Attempt) -> dict[str, int]:
        """Path and size of files that were copied before a restart of the daemon."""
        context = self._context
        for artifact in await context.store.artifacts(attempt.run_id):
            if artifact.attempt_id == attempt.attempt_id and artifact.kind == FILES:
                if artifact.index is None:
                    continue
                found = await asyncio.to_thread(read_listing, context.content, artifact.index)
                return {file.path: file.size for file in found.files} | dict.fromkeys(
                    (path for path, _ in found.links), 0
                )
        return {}

    async def _copy(
        self, left: Left, files: Sequence[FileEntry], advance: Advance
    ) -> tuple[tuple[FileEntry, ...], str]:
        """Copy the files that fit into the budget. Returns the other files, and why they stay."""
        if not files:
            return (), ""
        limit = self._context.config.limits.kept_files
        if await self._copied(left.attempt):
            return tuple(files), over_budget(limit)  # not chosen before the restart
        choice = choose_files(files, await self._room(left.run.run_id))
        if not choice.copied:
            return choice.left, unfit_or(choice.left, over_budget(limit))
        with self._reserving(left.run.run_id, choice.size):
            try:
                came = await self._take(left, choice, advance)
            except (*_TROUBLE, StateError) as error:
                self._unanswered.check(left.attempt, error)
                await self._tell(left.attempt, f"they could not be copied: {error.message}")
                return tuple(files), f"not copied: {error.message}"
        if lost := not_come(choice.copied, came):
            few = ", ".join(clean_line(entry.path, 100) for entry in lost[:_FEW])
            await self._tell(left.attempt, f"{NOT_READ} ({few}{', ...' * (len(lost) > _FEW)})")
            return (*choice.left, *lost), NOT_READ
        return choice.left, unfit_or(choice.left, over_budget(limit))

    async def _take(self, left: Left, choice: Choice, advance: Advance) -> set[str]:
        """Copy the files; returns the paths of the copied ones."""
        context = self._context
        paths = [entry.path for entry in choice.copied]
        collected = await collect_files(
            context.link(left.attempt.host), left.source, paths, context.content, choice.size,
            advance,
        )  # fmt: skip
        await context.store.add_artifact(
            self._artifact(
                left, FILES, collected.digest, collected.size, collected.files,
                tree=collected.tree_digest, index=collected.index,
            )
        )  # fmt: skip
        found = await asyncio.to_thread(read_listing, context.content, collected.index)
        return {file.path for file in found.files}

    async def _name(self, left: Left, changed: ChangedFiles) -> None:
        """With `code = "here"` nothing is copied: only note which files are new or changed."""
        if not changed.files:
            return
        listing = Listing(
            tuple(ListedFile(e.path, e.size, "", 0, -1) for e in changed.files if e.kind == "file")
        )
        key = f"here-{left.attempt.attempt_id}"[:200]
        digest = await asyncio.to_thread(write_listing, listing, self._context.content, key)
        size = sum(entry.size for entry in changed.files)
        artifact = self._artifact(left, HERE, digest, size, len(listing.files), index=digest)
        await self._context.store.add_artifact(artifact)

    def _artifact(
        self, left: Left, kind: str, digest: str, size: int, files: int, *,
        index: str, tree: str | None = None,
    ) -> Artifact:  # fmt: skip
        return Artifact(
            run_id=left.run.run_id,
            stage=left.attempt.stage,
            attempt_id=left.attempt.attempt_id,
            name=FILES,
            digest=digest,
            size=size,
            collected_at=self._context.clock.now(),
            files=files,
            tree_digest=tree,
            kind=kind,
            partial=left.verdict is not Phase.SUCCEEDED,
            index=index,
        )

    async def _room(self, run_id: str) -> int:
        """Free bytes of the run's budget, limited by the free space of the disk."""
        context, before = self._context, self._reserved[run_id]
        space = await asyncio.to_thread(space_of, context.store.folder)
        found = await context.store.artifacts(run_id)
        used = sum(artifact.size for artifact in found if artifact.kind == FILES)
        # An artifact that is stored during these reads may count twice, but is never missed.
        taken = used + max(before, self._reserved[run_id])
        room = context.config.limits.kept_files - taken
        # Half: the store repacks a received archive, so both need space for a moment.
        return min(room, (space.free - _kept_free(space.total)) // 2)

    @contextlib.contextmanager
    def _reserving(self, run_id: str, size: int) -> Iterator[None]:
        """Reserve bytes of the run's budget, which its cells share if they end at the same time."""
        self._reserved[run_id] += size
        try:
            yield
        finally:
            self._reserved[run_id] -= size
            if self._reserved[run_id] <= 0:
                del self._reserved[run_id]

    async def _tell(self, attempt: Attempt, why: str) -> None:
        message = f"files of {attempt.attempt_id} are not saved: {why}"
        context = self._context
        await context.tell(
            context.event(EventKind.ATTEMPT_FILES_NOT_SAVED, message, attempt, severity="warning")
        )


def _kept_free(total: int) -> int:
    """Bytes of a disk that kept files never use: the database needs them for running work."""
    return min(GIB, total // 20)
