"""Folders of ended attempts that stay on their hosts for a while, because not all files were "
"copied."""

from __future__ import annotations

from dataclasses import replace

from hostler.base.errors import (
    AgentError,
    ConflictError,
    EngineError,
    HostlerError,
    InputError,
    NotFoundError,
)
from hostler.base.units import format_size
from hostler.daemon.context import Context
from hostler.daemon.host_copies import HostCopies
from hostler.decide.copied_files import Staying
from hostler.decide.expiry import date_text
from hostler.model.events import EventKind
from hostler.model.hosts import Workload
from hostler.model.records import NewEvent, Remainder
from hostler.model.runs import Attempt

_TROUBLE = (NotFoundError, ConflictError, InputError, EngineError, AgentError)


class Stays:
    """Marks them on the host, and notes them in the database."""

    def __init__(self, context: Context, copies: HostCopies) -> None:
        self._context = context
        self._copies = copies

    async def keep(self, attempt: Attempt, workload: Workload, left: Staying) -> None:
        """Let the folder of an attempt, as it is when it is over, stay. May be repeated. Raises
        Unreachable.

        The database knows of it first: what the host marks as kept is in no look any more, and
        nobody would come to remove it. And what the host cannot mark just now (its disk is full,
        its Docker restarts) is not removed either: see `again`. Of what is gone from the host it is
        told when the host does not name it for a while (`KeptThere`).
        """
        remainder = self._remainder(attempt, workload, left)
        await self._context.store.add_remainder(remainder)
        try:
            await self._mark(attempt, workload, remainder)
        except _TROUBLE as error:
            await self._not_marked(attempt, error)

    async def again(self, attempt: Attempt, workload: Workload) -> bool:
        """Mark what has to stay and could not be marked when its attempt ended; False where none of
        it has to stay. Raises HostError."""
        found = await self._context.store.remainders(attempt.run_id)
        left = next((each for each in found if each.attempt_id == attempt.attempt_id), None)
        if left is None or left.host != attempt.host or left.given_up_by is not None:
            return False
        await self._mark(attempt, workload, left)
        return True

    async def _mark(self, attempt: Attempt, workload: Workload, left: Remainder) -> None:
        context = self._context
        with context.monitors[attempt.host].removing(workload.ref):
            await self._copies.note(attempt)
            link, runtime = context.link(attempt.host), context.runtimes[workload.runtime]
            kept = await runtime.keep(link, workload, left.until)
        known = replace(left, path=kept.path)
        if not left.files:
            known = replace(known, files=kept.files, size=kept.bytes)
        await context.store.add_remainder(known, self._event(attempt, known))
        context.look_soon(attempt.host)

    def _remainder(self, attempt: Attempt, workload: Workload, left: Staying) -> Remainder:
        context = self._context
        now = context.clock.now()
        return Remainder(
            attempt_id=attempt.attempt_id,
            run_id=attempt.run_id,
            stage=attempt.stage,
            host=attempt.host,
            runtime=workload.runtime,
            ref=workload.ref,
            path="",
            files=left.files,
            size=left.size,
            since=now,
            until=now + context.config.limits.keep_jobs,
            names=left.names,
            why=left.why,
        )

    def _event(self, attempt: Attempt, kept: Remainder) -> NewEvent:
        what = f"{kept.files} file{'' if kept.files == 1 else 's'} ({format_size(kept.size)})"
        message = (
            f"{what} of {attempt.stage} stay on {attempt.host}, {kept.path}, until "
            f"{date_text(kept.until)}: {kept.why}"
        )
        return self._context.event(EventKind.ATTEMPT_FILES_STAY, message, attempt)

    async def _not_marked(self, attempt: Attempt, error: HostlerError) -> None:
        message = (
            f"files of {attempt.attempt_id} stay on {attempt.host}, which could not record that "
            f"they are kept; Hostler tries again: {error.message}"
        )
        context = self._context
        await context.tell(
            context.event(EventKind.ATTEMPT_FILES_NOT_SAVED, message, attempt, severity="warning")
        )
