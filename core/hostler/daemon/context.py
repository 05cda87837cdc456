"""What all parts of the daemon share (store, cache, config, hosts), as one value; finds the run
that `last` means."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from hostler.base.errors import NotFoundError, StateError, Superseded, Unreachable
from hostler.base.masking import mask
from hostler.base.users import user_name
from hostler.daemon.budget import EventBudget
from hostler.daemon.copy_format import Signer
from hostler.daemon.health import Health
from hostler.daemon.host_monitor import HostMonitor
from hostler.daemon.hub import Hub
from hostler.daemon.rights import Rights
from hostler.daemon.run_cache import RunCache
from hostler.daemon.secrets import Secrets
from hostler.daemon.standing import LeftBehind, Standing, is_proof, newer, unproven
from hostler.daemon.trust import guarded
from hostler.model.calls import Call, Caller
from hostler.model.config import Config
from hostler.model.events import EventKind
from hostler.model.hosts import Host
from hostler.model.plans import Stray
from hostler.model.records import NewEvent, RunFilter
from hostler.model.runs import Attempt, AttemptChange, Phase, Run
from hostler.model.timings import Timings
from hostler.ports import Builder, Clock, HostLink, Runtime
from hostler.store.content import ContentStore
from hostler.store.database import Store

if TYPE_CHECKING:  # loaded where something was deployed
    from hostler.model.releases import Server, ServiceState

ASKING: ContextVar[Caller | None] = ContextVar("asking", default=None)
"""The sender of the current request; None: the daemon itself."""
_NOT_MASKED = "(left out: it could not be masked, since the secrets of its run cannot be read)"


@dataclass(slots=True)
class Noted:
    """Which notes about services this daemon has written to hosts."""

    revisions: dict[tuple[str, str], int] = field(default_factory=dict)
    """(host, service) -> the revision of the service in the note there."""
    turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """Host -> lock, held while a note is written there."""
    specs: dict[str, str] = field(default_factory=dict)
    """Ended run of a release -> its specification, packed and signed."""


def _this_user() -> Caller:
    return Caller(os.getuid(), user_name(os.getuid()))


@dataclass(slots=True)
class Context:
    """The daemon's parts. `assemble` fills it, all actions use it."""

    config: Config
    daemon_id: str
    signer: Signer
    """Signs the copies of runs on hosts."""
    store: Store
    content: ContentStore
    run_cache: RunCache
    secrets: Secrets
    hub: Hub
    clock: Clock
    monitors: dict[str, HostMonitor]
    runtimes: Mapping[str, Runtime]
    builder: Builder
    timings: Timings = field(default_factory=Timings)
    wake: Callable[[], None] = lambda: None
    note_run: Callable[[str], None] = lambda _run_id: None
    """Have the hosts of a run note its current target."""
    progress: dict[str, tuple[str, int, int | None]] = field(default_factory=dict)
    """Attempt id -> what happens during a slow start: (what, bytes done, bytes in all)."""
    held_up: dict[str, str] = field(default_factory=dict)
    """Attempt id -> why the last try to start it, or to copy its files, was blocked."""
    budget: EventBudget = field(default_factory=EventBudget)
    health: Health = field(default_factory=Health)
    """Hosts where nothing starts for now."""
    unseen: dict[str, float] = field(default_factory=dict)
    """Host -> time up to which looks may lack leases of ended attempts: these leases hold their
    GPUs until they are released, and no attempt holds them any more."""
    begun_at: float = -math.inf
    """When this daemon started, on its clock."""
    earlier: set[str] = field(default_factory=set)
    """Attempts with times by an earlier daemon's clock."""
    ended: dict[str, float] = field(default_factory=dict)
    """Those of them that have ended since -> when."""
    left_behind: LeftBehind = field(default_factory=LeftBehind)
    keeps_most: Mapping[str, str] = field(default_factory=dict)
    """Host -> the owner of most of its kept files."""
    strays: dict[str, tuple[str, Stray]] = field(default_factory=dict)
    """Attempt id -> its host, and the GPU there that it uses without a lease."""
    store_full: str | None = None
    """Why no stage that keeps files may start; None: the store has room."""
    images: frozenset[str] = frozenset()
    """`sha256:...` of all images that the daemon keeps for hosts, in each form that engines use."""
    near: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """Run and stage -> hosts known to have its base image."""
    removing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Lock, held while files of runs are removed, or marked as kept."""
    standing: Standing = field(default_factory=Standing)
    owner: Caller = field(default_factory=_this_user)
    """The owner of the daemon."""
    drains: dict[str, str] = field(default_factory=dict)
    """Host -> why it is closed to new work, as stored in the database."""
    services: dict[str, ServiceState] = field(default_factory=dict)
    """Deployed services, by name."""
    at_gateway: dict[str, Server] = field(default_factory=dict)
    """Attempt of any service -> its server, by the last look at the gateway; empty if the gateway
    does not answer."""
    noted: Noted = field(default_factory=Noted)
    opening: set[str] = field(default_factory=set)
    """Keys of steps of services whose release is being opened: its run and the release come into
    memory one after the other, and meanwhile nothing is decided about it."""
    giving_address: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Lock, held while a release's address is checked and stored."""
    _cleaning: dict[str, asyncio.Event] = field(default_factory=dict)
    """Host -> set when its caches have been cleaned."""
    _changing: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """Attempt id -> lock, held while it is changed."""

    @property
    def rights(self) -> Rights:
        """The rights of users by the current config."""
        return Rights(self.owner, self.config.daemon.operators)

    def hosts(self) -> tuple[Host, ...]:
        """All hosts, in the order of the config, each with the users whose processes may run
        there."""
        found = (monitor.host for monitor in self.monitors.values())
        if not self.config.daemon.is_shared:
            return tuple(found)
        gateway = self.monitors.get(self.config.gateway.host or "")
        look = gateway.host.look if gateway is not None else None
        return tuple(guarded(host, self.config, self.owner, look) for host in found)

    def look_soon(self, host: str) -> None:
        """Look at the host without waiting for the rest of the interval; does nothing if the host
        has left the config."""
        monitor = self.monitors.get(host)
        if monitor is not None:
            monitor.look_soon()

    def close_host(self, host: str, reason: str | None) -> None:
        """Show that a host is closed to new work, or, by None, open again."""
        if reason is None:
            self.drains.pop(host, None)
        else:
            self.drains[host] = reason
        monitor = self.monitors.get(host)
        if monitor is not None:
            monitor.configure(drained=reason)
        self.hub.publish()

    def ask_for(self, run: Run) -> None:
        """Ask every host soon for what a new run needs there."""
        programs, environments = run.programs, run.environments
        for monitor in self.monitors.values() if programs or environments else ():
            monitor.environments.ask_for(environments)
            if monitor.host.transport != "local":
                monitor.paths.ask_for(programs)

    @contextmanager
    def cleaning(self, host: str) -> Iterator[None]:
        """Held while the host's caches are cleaned, one cleaning at a time: no files are placed
        there."""
        over = self._cleaning[host] = asyncio.Event()
        try:
            yield
        finally:
            del self._cleaning[host]
            over.set()

    async def cleaned(self, host: str) -> None:
        """Wait until no cleaning of the host's caches is under way."""
        while (over := self._cleaning.get(host)) is not None:
            await over.wait()

    def link(self, host: str) -> HostLink:
        """The link to a host. Raises Unreachable if the config no longer names it."""
        monitor = self.monitors.get(host)
        if monitor is None:
            raise Unreachable(host, "no longer in the config", remedy="add it to the config again")
        return monitor.link

    def runtime(self, attempt: Attempt) -> Runtime:
        """The runtime an attempt was placed with."""
        return self.runtimes[attempt.runtime]

    async def change_attempt(
        self,
        attempt_id: str,
        change: Callable[[Attempt], AttemptChange | None],
        event: NewEvent | None = None,
    ) -> Attempt | None:
        """Change fields of an attempt: store them with the event first, then show them.

        `change` gets the current attempt and returns the fields; None: no change is needed. Changes
        of one attempt happen one after the other, so that none is based on old values. Returns the
        changed attempt; None: nothing was changed.
        """
        async with self._changing.setdefault(attempt_id, asyncio.Lock()):
            current = self.run_cache.attempt(attempt_id)
            changes = change(current) if current is not None else None
            if current is None or changes is None:
                return None
            changes = self._with_masked_details(current.run_id, changes)
            await self.store.change_attempt(attempt_id, event, **_with_metrics(current, changes))
            return self._show_change(attempt_id, changes) or replace(current, **changes)

    def since(self, attempt: Attempt) -> float:
        """When the attempt was placed; if by an earlier daemon, when this daemon started."""
        is_earlier = attempt.attempt_id in self.earlier
        return self.begun_at if is_earlier else attempt.placed_at

    def _note_times(self, before: Attempt, now: Attempt) -> None:
        """Distinguish times of this daemon's clock from those of an earlier one."""
        if now.attempt_id not in self.earlier:
            return
        if before.phase.is_at_work and not now.phase.is_at_work:
            self.ended[now.attempt_id] = self.clock.now()
        elif before.launched_at is None and now.launched_at is not None:
            self.earlier.discard(now.attempt_id)

    def _show_change(self, attempt_id: str, changes: AttemptChange) -> Attempt | None:
        """The changed attempt; None if its run is no longer open."""
        before = self.run_cache.attempt(attempt_id)
        now = self.run_cache.change_attempt(attempt_id, **changes)
        if before is None or now is None:
            return None
        self._note_times(before, now)
        if now.phase is not Phase.STARTING:
            self.held_up.pop(attempt_id, None)
        if now.gpus and before.phase.is_at_work and not now.phase.is_at_work:
            self._wait_for_leases(now)
        self.hub.publish()
        return now

    def _wait_for_leases(self, attempt: Attempt) -> None:
        """A stage may be shorter than the time between two looks. Then the last look is older than
        its claim, and would show its GPUs as free."""
        claimed = attempt.launched_at if attempt.launched_at is not None else self.clock.now()
        if attempt.attempt_id in self.earlier:
            claimed = self.begun_at
        self.unseen[attempt.host] = max(claimed, self.unseen.get(attempt.host, 0.0))
        monitor = self.monitors.get(attempt.host)
        if monitor is not None and (
            monitor.host.look is None or monitor.host.look.asked_at <= claimed
        ):
            monitor.look_soon()

    def may_clean(self, host: str) -> bool:
        """Whether the daemon has the complete current state of a host, so that it may remove files
        there."""
        monitor = self.monitors.get(host)
        if monitor is None or not monitor.is_connected:
            return False
        return not (self.standing.is_unmerged(host) or self.standing.halted())

    async def is_over(self, run_id: str) -> bool | None:
        """Whether a run that a host names has ended, or a user removed it; None: unknown. Raises
        StateError."""
        if self.run_cache.find(run_id) is not None:
            return False
        found = await self.store.is_over(run_id)
        return True if found is None and run_id in self.standing.ended else found

    async def superseded(self, told: Superseded) -> None:
        """A host refuses this daemon because a newer generation works there. If that is proved, the
        daemon plans nothing any more, on any host. Raises StateError."""
        standing = self.standing
        if told.number <= standing.generation.number:
            return
        if not is_proof(told, self.signer):
            if (monitor := self.monitors.get(told.host)) is not None:
                monitor.explain(unproven(told, self.daemon_id))
            return
        if (standing.superseded_by or 0) < told.number:
            standing.superseded_by = told.number
            said = f"{told.host} refuses this daemon: {newer(told.number)}"
            event = self.event(EventKind.DAEMON_SUPERSEDED, said, severity="error")
            self.wake()
            await self.store.generations.supersede(told.number, event)
            self.hub.publish()

    async def tell(self, event: NewEvent) -> None:
        """Store an event, then show it; the events of each host are limited."""
        admitted = self.admit(event)
        if admitted is not None:
            await self.write(admitted)

    async def write(self, event: NewEvent) -> None:
        """Store an admitted event, then show it."""
        await self.store.add_event(event)
        self.hub.publish()

    def admit(self, event: NewEvent) -> NewEvent | None:
        """The event to write: a host that causes too many is limited, and the first omitted event
        is replaced by one line about that."""
        if event.host is None:
            return event
        verdict = self.budget.take(event.host, event.at)
        if verdict.put_aside and event.host in self.monitors:
            self.monitors[event.host].put_aside("it sends too many events")
        if verdict.kept or verdict.said is None:
            return event if verdict.kept else None
        return self.event(EventKind.HOST_NOISY, verdict.said, severity="warning", host=event.host)

    def has_secrets(self, run_id: str) -> bool:
        """Whether a run may have secrets: without them nothing is masked."""
        secrets = self.secrets
        return (
            run_id in self.run_cache.with_secrets
            or run_id in secrets.runs
            or run_id in secrets.broken
        )

    def masked(self, run_id: str, text: str) -> str:
        """A text of a host or a stage about a run, without values of its secrets."""
        if not self.has_secrets(run_id):
            return text
        try:
            values = self.secrets.masked_values(run_id)
        except StateError:
            return _NOT_MASKED
        return mask(text, values) if values else text

    def _with_masked_details(self, run_id: str, changes: AttemptChange) -> AttemptChange:
        if detail := changes.get("detail"):
            changes = {**changes, "detail": self.masked(run_id, detail)}
        if stop_detail := changes.get("stop_detail"):
            changes = {**changes, "stop_detail": self.masked(run_id, stop_detail)}
        if warning := changes.get("warning"):
            changes = {**changes, "warning": self.masked(run_id, warning)}
        return changes

    def event(
        self,
        kind: EventKind,
        message: str,
        attempt: Attempt | None = None,
        *,
        severity: str = "info",
        run_id: str | None = None,
        attempt_id: str | None = None,
        host: str | None = None,
        gpu: str | None = None,
        actor: str | None = None,
    ) -> NewEvent:
        """A new event at the current time, about an attempt or other given things."""
        run_id = attempt.run_id if attempt else run_id
        return NewEvent(
            at=self.clock.now(),
            kind=kind,
            message=message if run_id is None else self.masked(run_id, message),
            severity=severity,
            run_id=run_id,
            stage=attempt.stage if attempt else None,
            attempt_id=attempt.attempt_id if attempt else attempt_id,
            host=attempt.host if attempt else host,
            gpu=gpu,
            actor=actor,
        )


def _with_metrics(attempt: Attempt, changes: AttemptChange) -> AttemptChange:
    """The fields, with the metrics of an attempt that ends by them: they were in memory only."""
    ends = not changes.get("phase", attempt.phase).is_at_work
    if ends and attempt.phase.is_at_work and "metrics" not in changes:
        return {**changes, "metrics": attempt.metrics}
    return changes


async def newest_run(context: Context) -> str:
    """The id of the caller's newest run; for operators without a run, the newest of all runs.

    Raises NotFoundError.
    """
    who = ASKING.get()
    sees_all = who is None or context.rights.allows(who, Call.AUDIT)
    own = RunFilter(owner=who.user) if who is not None else RunFilter()
    for wanted in (own, RunFilter()) if sees_all else (own,):
        if found := await context.store.list_runs(wanted, 1):
            return found[0].run_id
    said = "there are no runs yet" if sees_all else "you have no runs yet"
    raise NotFoundError(said, remedy="start one: hostler run -- CMD")
