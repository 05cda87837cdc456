"""`hostler keep`: lists, marks and releases kept runs."""

from __future__ import annotations

import asyncio

from hostler.base.errors import InputError, NotFoundError, StateError
from hostler.daemon.audit import Audit
from hostler.daemon.context import Context
from hostler.decide.expiry import goes_at
from hostler.model.calls import Call, Caller
from hostler.model.codec import view_of
from hostler.model.events import EventKind
from hostler.model.files import Artifact
from hostler.model.records import Keep
from hostler.model.runs import Run
from hostler.model.views.kept import KeptArtifact, KeptEntry, KeptView, RemainderView
from hostler.model.views.runs import KeepView, StayingView
from hostler.store.saved import read_listing, top_level

_MOST_READ = 5_000
_MOST_SHOWN = 20


class Keeping:
    """Users' requests to keep runs. A request is durable before it is answered."""

    def __init__(self, context: Context, audit: Audit) -> None:
        self._context = context
        self._audit = audit

    async def keep(self, run: Run, until: float | None, who: Caller) -> KeptView:
        """Keep a run and all its files, until a time or forever; returns the `hostler.kept/1`
        object.

        Raises ForbiddenError for others' runs, InputError for a time in the past.
        """
        self._context.rights.authorize(who, Call.KEEP, run)
        self._context.standing.check_current()
        now = self._context.clock.now()
        if until is not None and until <= now:
            raise InputError("the date is in the past", remedy="Name a future date, or none")
        arguments: dict[str, object] = {"run": run.run_id, "until": until}
        # What is being removed at this moment is removed, and not told as kept.
        async with self._context.removing:
            asked = self._audit.entry(who, Call.KEEP, arguments)
            said = f"run {run.run_id} is kept by {who.user}"
            event = self._context.event(EventKind.RUN_KEPT, said, run_id=run.run_id, actor=who.user)
            keep = Keep(run.run_id, who.user, now, until)
            await self._context.store.keep_run(keep, event, asked)
        self._context.hub.publish()
        return await self.of(run, who)

    async def unkeep(self, run: Run, who: Caller) -> KeptView:
        """Keep it no longer than other runs. Its files stay until an alert was open for a day."""
        self._context.rights.authorize(who, Call.UNKEEP, run)
        self._context.standing.check_current()
        asked = self._audit.entry(who, Call.UNKEEP, {"run": run.run_id})
        said = f"run {run.run_id} is no longer kept: {who.user} released it"
        event = self._context.event(
            EventKind.RUN_KEPT_NO_LONGER, said, run_id=run.run_id, actor=who.user
        )
        await self._context.store.unkeep_run(run.run_id, event, asked)
        self._context.hub.publish()
        return await self.of(run, who)

    async def shown(self, run: Run) -> tuple[KeepView | None, tuple[StayingView, ...]]:
        """The public part of a run object: who keeps it, and where its files remain."""
        now, keep = self._context.clock.now(), await self._keep(run)
        left = await self._context.store.remainders(run.run_id)
        return (
            None if keep is None else view_of(KeepView, keep),
            tuple(view_of(StayingView, each, goes_at=goes_at(each, now)) for each in left),
        )

    async def _keep(self, run: Run) -> Keep | None:
        keep = (await self._context.store.keeps()).get(run.run_id)
        return keep if keep is not None and keep.holds(self._context.clock.now()) else None

    async def of(self, run: Run, who: Caller) -> KeptView:
        """What is kept of a run, and for whom: the `hostler.kept/1` object."""
        self._context.rights.authorize(who, Call.FILES, run)
        store, now = self._context.store, self._context.clock.now()
        keep = await self._keep(run)
        fetched = await store.fetched(run.run_id)
        artifacts = [
            await self._artifact(artifact, fetched.get((artifact.attempt_id, artifact.digest)))
            for artifact in await store.artifacts(run.run_id)
        ]
        left = await store.remainders(run.run_id)
        return KeptView(
            run_id=run.run_id,
            by=keep.by if keep else None,
            at=keep.at if keep else None,
            until=keep.until if keep else None,
            artifacts=tuple(artifacts),
            remainders=tuple(view_of(RemainderView, r, goes_at=goes_at(r, now)) for r in left),
        )

    async def _artifact(self, artifact: Artifact, fetched_at: float | None) -> KeptArtifact:
        return view_of(
            KeptArtifact,
            artifact,
            entries=await self._entries(artifact),
            fetched_at=fetched_at,
            present=self._context.content.has(artifact.digest),
        )

    async def _entries(self, artifact: Artifact) -> tuple[KeptEntry, ...] | None:
        """The top-level entries of kept files; None for an output, which has a name, and if there
        are too many to read."""
        content, index = self._context.content, artifact.index
        if artifact.is_output or index is None or artifact.files > _MOST_READ:
            return None
        try:
            listing = await asyncio.to_thread(read_listing, content, index)
        except (NotFoundError, StateError):
            return None
        return top_level(listing)[:_MOST_SHOWN]
