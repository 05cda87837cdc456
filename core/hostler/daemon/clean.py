"""Does `hostler host clean`: which files, checkpoints, caches and workloads on a host are removed,
what is refused, and what is reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field

from hostler.base.errors import ConflictError, HostlerError, NotFoundError, Unreachable
from hostler.base.text import first_of
from hostler.daemon.audit import Audit
from hostler.daemon.context import Context
from hostler.daemon.expiry import Expirer
from hostler.daemon.garbage import checkpoint_keys
from hostler.daemon.host_copies import HostCopies
from hostler.model.calls import Call, Caller
from hostler.model.codec import from_json
from hostler.model.files import KeptFolder
from hostler.model.hosts import Host, Look, Workload
from hostler.model.plans import Remove
from hostler.model.records import AttemptFilter
from hostler.model.runs import Run
from hostler.model.runtimes import traits_of
from hostler.model.views.hosts import Cleanable, CleanView

_MOST_LISTED = 1000
_MOST_UNKNOWN = 1000
_MOST_NAMED = 5
RECOVER = "recover them first: hostler daemon stop; hostler daemon recover"


@dataclass(frozen=True, slots=True)
class CleanRequest:
    """What to remove besides unneeded files."""

    dry_run: bool = True
    checkpoints: bool = False
    kept: bool = False
    """Also remove kept files, which stay on the host for a while."""
    shown_at: float | None = None
    """When the user saw the list of files to remove: files and checkpoints of runs that ended later
    stay."""


@dataclass(slots=True)
class _Cleaning:
    """What the cleaning found or removed."""

    host: str
    request: CleanRequest
    at: float
    found: list[Cleanable] = field(default_factory=list)
    stays: list[str] = field(default_factory=list)
    """What stays, and why, in sentences."""

    def add(self, what: str, names: Collection[str], size: int = 0) -> None:
        """Add things of one kind; empty lists are left out."""
        if names:
            shown = tuple(sorted(names)[:_MOST_LISTED])
            self.found.append(Cleanable(what=what, count=len(names), bytes=size, names=shown))

    def view(self) -> CleanView:
        """The answer."""
        return CleanView(
            host=self.host,
            dry_run=self.request.dry_run,
            at=self.at,
            found=tuple(self.found),
            stays=tuple(self.stays),
        )


class Cleaner:
    """Checks requests, reports and removes, on one host at a time."""

    def __init__(
        self,
        context: Context,
        copies: HostCopies,
        expirer: Expirer,
        audit: Audit,
        remove: Callable[[Remove], Awaitable[None]],
    ) -> None:
        self._context = context
        self._copies = copies
        self._expirer = expirer
        self._audit = audit
        self._remove = remove
        self._turns: dict[tuple[str, bool], asyncio.Lock] = {}
        """One lock for each host, separate for dry runs: all users may do a dry run, which does not
        delay a cleaning."""

    async def clean(self, name: str, request: CleanRequest, who: Caller) -> CleanView:
        """What was or would be removed. Raises ForbiddenError, NotFoundError, HostError, and
        ConflictError if it is not known what runs need."""
        self._context.rights.authorize(who, Call.LOOK if request.dry_run else Call.CLEAN)
        self._host(name)
        async with self._turns.setdefault((name, request.dry_run), asyncio.Lock()):
            host, look = self._host(name)
            made = _Cleaning(name, request, self._context.clock.now())
            await self._check_known(name, look)
            if not request.dry_run:
                arguments = {"host": name, "checkpoints": request.checkpoints, "kept": request.kept}
                await self._audit.note(who, Call.CLEAN, dict(arguments))
            await self._workloads(made, look)
            await self._notes(made)
            if request.kept:
                await self._kept(made, who)
            if request.checkpoints:
                await self._checkpoints(made, host)
            await self._caches(made, look)
            self._context.look_soon(name)
            return made.view()

    def _host(self, name: str) -> tuple[Host, Look]:
        """The host, once the daemon has its complete current state."""
        context = self._context
        context.standing.check_current()
        monitor = context.monitors.get(name)
        if monitor is None:
            known = ", ".join(context.monitors) or "none"
            raise NotFoundError(f"no host {name!r} in the config", remedy=f"known hosts: {known}")
        host, look = monitor.host, monitor.host.look
        if look is None or not monitor.is_connected:
            raise Unreachable(name, host.problem or "it does not answer")
        if host.unmerged:
            raise ConflictError(
                f"the notes of {name} since the backup are not merged yet",
                remedy="see what blocks it: hostler daemon status",
            )
        if (unseen := _unseen(host, look)) is not None:
            raise ConflictError(
                f"{name}: {unseen}: containers there cannot be listed",
                remedy=f"hostler doctor {name}",
            )
        return host, look

    async def _check_known(self, name: str, look: Look) -> None:
        """Raises ConflictError if the host holds runs that the database does not know."""
        context, ours = self._context, self._context.daemon_id
        link = context.link(name)
        told = (await link.call("run.list", {"daemon_id": ours}))["runs"]
        kept = (
            await link.call("kept.list", {"daemon_id": ours}, self._context.timings.clean_timeout)
        )["kept"]
        works = [work.attempt_id for work in look.workloads if work.daemon_id == ours]
        works += [str(folder["attempt_id"]) for folder in kept]
        unknown = await self._unknown([*told, *map(_run_of, works)])
        if unknown:
            named = first_of(unknown, _MOST_NAMED)
            raise ConflictError(
                f"{name} holds runs that the database does not know ({named})",
                remedy=RECOVER,
            )

    async def _unknown(self, run_ids: Iterable[str]) -> list[str]:
        found: list[str] = []
        for run_id in dict.fromkeys(run_ids):
            if await self._context.is_over(run_id) is None:
                found.append(run_id)
            if len(found) >= _MOST_UNKNOWN:
                break  # a host may name very many
        return found

    async def _workloads(self, made: _Cleaning, look: Look) -> None:
        """Ended workloads of attempts that are over: they have the daemon's label and are in its
        database."""
        ended = [w for w in look.workloads if not w.running and await self._is_ours(made.host, w)]
        gone = []
        for work in ended:
            if await self._done(made, work.attempt_id, self._end(made, work)):
                gone.append(work.attempt_id)
        # Of what ended unseen there may be files that stay, and what has to stay is marked anew.
        left = await self._context.store.remainders(host=made.host)
        made.add("ended container or job", {*gone} - {each.attempt_id for each in left})

    async def _end(self, made: _Cleaning, work: Workload) -> None:
        if not made.request.dry_run:
            await self._remove(Remove(made.host, work))

    async def _done(self, made: _Cleaning, what: str, doing: Awaitable[object]) -> bool:
        """Whether one removal succeeded. A failure is reported, and the rest continues."""
        try:
            await doing
        except HostlerError as error:
            made.stays.append(f"{what}: {error}")
            return False
        return True

    async def _is_ours(self, host: str, work: Workload) -> bool:
        context = self._context
        if work.daemon_id != context.daemon_id:
            return False
        wanted = AttemptFilter(run_id=_run_of(work.attempt_id), host=host)
        there = await context.store.attempts(wanted)
        return any(a.attempt_id == work.attempt_id and a.phase.is_final for a in there)

    async def _notes(self, made: _Cleaning) -> None:
        """Remove or list notes about ended runs; the records of their ends stay."""
        over = await self._copies.over(made.host)
        if over and not made.request.dry_run:
            await self._copies.sweep(made.host)
        made.add("notes of an ended run", over)

    async def _kept(self, made: _Cleaning, who: Caller) -> None:
        request = made.request
        cleared = await self._expirer.clear(
            made.host, who.user, dry_run=request.dry_run, shown_at=request.shown_at
        )
        gone = {left.attempt_id for left in cleared.gone}
        made.stays += cleared.stays
        size = sum(left.size for left in cleared.gone)
        for folder in await self._forgotten(made.host):
            if await self._done(made, folder.attempt_id, self._drop(made, folder)):
                gone.add(folder.attempt_id)
                size += folder.bytes
        made.add("kept folder", gone, size)

    async def _forgotten(self, host: str) -> list[KeptFolder]:
        """Kept folders of ended runs that are missing in the database: they ended after the backup
        from which it was restored."""
        context = self._context
        asked = {"daemon_id": context.daemon_id}
        told = (
            await context.link(host).call("kept.list", asked, self._context.timings.clean_timeout)
        )["kept"]
        found = []
        for folder in (from_json(KeptFolder, each) for each in told):
            attempts = await context.store.attempts(
                AttemptFilter(run_id=_run_of(folder.attempt_id))
            )
            known = {attempt.attempt_id for attempt in attempts}
            if folder.attempt_id not in known and await context.is_over(_run_of(folder.attempt_id)):
                found.append(folder)
        return found

    async def _drop(self, made: _Cleaning, folder: KeptFolder) -> None:
        if made.request.dry_run:
            return
        context = self._context
        ended = Workload(
            folder.attempt_id, context.daemon_id, folder.runtime, folder.ref,
            running=False, exit_code=0,
        )  # fmt: skip
        await context.runtimes[folder.runtime].remove(context.link(made.host), ended)

    async def _checkpoints(self, made: _Cleaning, host: Host) -> None:
        """Checkpoints of runs that are neither open nor kept by a user."""
        context = self._context
        link, count = context.link(made.host), 0
        for name in context.runtimes.keys() & set(host.runtimes):
            runtime = context.runtimes[name]
            # Who keeps a run meanwhile waits, or is in the list.
            async with nullcontext() if made.request.dry_run else context.removing:
                keep = checkpoint_keys(context.daemon_id, await self._needed(made.request))
                count += await runtime.sweep(link, context.daemon_id, keep, made.request.dry_run)
        if count:
            made.found.append(Cleanable(what="checkpoint", count=count))

    async def _needed(self, request: CleanRequest) -> list[Run]:
        store, now = self._context.store, self._context.clock.now()
        since = now if request.shown_at is None else min(now, request.shown_at)
        kept = {run_id for run_id, keep in (await store.keeps()).items() if keep.holds(now)}
        return [*self._context.run_cache.runs(), *await store.runs_needed_since(since, kept)]

    async def _caches(self, made: _Cleaning, look: Look) -> None:
        """Clean or list the login's caches, also those of other daemons: only while no job runs
        there."""
        with nullcontext() if made.request.dry_run else self._context.cleaning(made.host):
            busy = self._busy(made.host, look) or await self._cleaned(made)
        if busy:
            made.stays.append(f"caches not removed: {busy}")

    async def _cleaned(self, made: _Cleaning) -> str:
        """Why the agent did not clean them; "" if it did."""
        asked = {"daemon_id": self._context.daemon_id, "dry_run": made.request.dry_run}
        told = await self._context.link(made.host).call(
            "clean", asked, self._context.timings.clean_timeout
        )
        found = [from_json(Cleanable, each) for each in told["found"]]
        made.found += [each for each in found if each.count]
        return str(told["busy"])

    def _busy(self, name: str, look: Look) -> str:
        """The work of the login on the host, as far as the daemon sees; "" if there is none."""
        running = next((work for work in look.workloads if work.running), None)
        if running is not None:
            return f"{running.attempt_id} is running"
        begun = next((a for a in self._context.run_cache.open_attempts() if a.host == name), None)
        return f"{begun.attempt_id} is {begun.phase}" if begun is not None else ""


def _run_of(attempt_id: str) -> str:
    return attempt_id.partition("-")[0]


def _unseen(host: Host, look: Look) -> str | None:
    """Why the last look does not show all workloads of the host; None: it shows all."""
    reasons = (traits_of(name).unseen(look) for name in sorted(host.facts.runtimes))
    return next((why for why in reasons if why is not None), None)
