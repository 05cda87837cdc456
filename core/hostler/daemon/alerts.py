"""Keeps open alerts and acknowledgements and reads them from the event log; which events open one,
and their remedies, is in `insight.alerts`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from hostler.base.errors import NotFoundError, StateError
from hostler.daemon.audit import Audit
from hostler.daemon.context import Context
from hostler.daemon.notify import notify
from hostler.decide.causes import cut_off_sentence, is_cut_off
from hostler.decide.index import open_attempts
from hostler.insight.alerts import CUT_OFF, RESOLVES, RULES, STARTS, STRAY, Alert, Folded
from hostler.insight.gpu_states import History, classify
from hostler.insight.watch import Seen, Spot, bad_spots, news
from hostler.model.calls import Call, Caller
from hostler.model.codec import view_of
from hostler.model.events import EventKind
from hostler.model.records import Acknowledged, NewEvent
from hostler.model.views.alerts import AlertList, AlertView
from hostler.store.files import sentence, space_of

_log = logging.getLogger("hostler.daemon")
_PAGE = 5000
_OLDEST = 200_000
"""At the start, only this many of the latest events are read again."""
_KINDS = (*RULES, *RESOLVES)
_OVER = {
    CUT_OFF: EventKind.ATTEMPT_GPU_CUT_OFF_OVER, STRAY: EventKind.ATTEMPT_STRAY_OVER,
}  # fmt: skip
"""Topics of alerts about attempts -> the kind of the event that ends them."""


class Alerts:
    """Makes alerts from stored events as they come: a request for the fleet computes nothing."""

    def __init__(self, context: Context, history: Callable[[], History], audit: Audit) -> None:
        self._context = context
        self._audit = audit
        self._history = history
        self._folded: Folded | None = None
        self._folded_at = -1
        """The store's count of commits at that time."""
        self._acknowledged: dict[int, Acknowledged] = {}
        self._suspected: frozenset[Spot] = frozenset()
        self._turned: list[Alert] = []
        """Alerts that were opened or resolved, and not yet sent to the channels."""
        self._standing: list[Alert] = []
        """Lasting alerts that are not resolved, of all events read so far."""
        self._began = context.clock.now()
        self._lock = asyncio.Lock()

    async def standing(self, topic: str) -> list[Alert]:
        """Lasting alerts of a topic that are not resolved."""
        await self._current()
        return [a for a in self._standing if a.rule.topic == topic]

    async def list(self, *, open_only: bool, limit: int) -> AlertList:
        """Alerts, the newest first, and the number of open ones above severity "info"."""
        folded = await self._current()
        made = [self._view(alert) for alert in folded.all()]
        made = [*await self._unwritten(), *made]
        waiting = [alert for alert in made if alert.is_open]
        return AlertList(
            alerts=tuple((waiting if open_only else made)[:limit]),
            open=sum(alert.severity != "info" for alert in waiting),
        )

    async def forget_run(self, run_id: str) -> None:
        """Drop the alerts of a run that was removed."""
        folded = await self._current()
        folded.forget_run(run_id)
        self._standing = folded.standing()

    async def acknowledge(self, alert_id: int, who: Caller) -> AlertView:
        """Acknowledge it durably. Raises NotFoundError."""
        context = self._context
        context.rights.authorize(who, Call.ACKNOWLEDGE)
        alert = await self._find(alert_id)
        asked = self._audit.entry(who, Call.ACKNOWLEDGE, {"alert": alert_id})
        seen = Acknowledged(alert=alert_id, by=who.user, at=context.clock.now())
        await context.store.acknowledge(
            seen, self._seen_event(EventKind.ALERT_ACKNOWLEDGED, alert, who), asked
        )
        self._acknowledged[alert_id] = seen
        context.hub.publish()
        return self._view(alert)

    async def unacknowledge(self, alert_id: int, who: Caller) -> AlertView:
        """Undo the acknowledgement. Raises NotFoundError."""
        self._context.rights.authorize(who, Call.UNACKNOWLEDGE)
        alert = await self._find(alert_id)
        asked = self._audit.entry(who, Call.UNACKNOWLEDGE, {"alert": alert_id})
        event = self._seen_event(EventKind.ALERT_UNACKNOWLEDGED, alert, who)
        await self._context.store.unacknowledge(alert_id, event, asked)
        self._acknowledged.pop(alert_id, None)
        self._context.hub.publish()
        return self._view(alert)

    async def run(self) -> None:
        """Check every ten seconds for problems without events, until cancelled."""
        while True:
            await asyncio.sleep(self._context.timings.alerts_every)
            try:
                await self.watch()
            except StateError as error:
                _log.warning("alerts were not written: %s", error)
            except Exception:
                _log.exception("watching failed: this is a bug in Hostler, please report it")

    async def watch(self) -> None:
        """Report failed GPUs, and the end of resolved problems."""
        await self._current()
        await self._report()
        if self._standing or self._suspected or self._has_gpus():
            await self._tell_news()
        await self._tell_disk()
        await self._tell_cut_off()
        await self._end_of_attempts()
        await self._tell_starts()

    def _has_gpus(self) -> bool:
        looks = (monitor.host.look for monitor in self._context.monitors.values())
        return any(look is not None and look.gpus for look in looks)

    async def _tell_news(self) -> None:
        """Report the state of hosts and GPUs, where that is not reported yet."""
        seen = self._seen()
        for item in news(seen, self._standing, self._suspected, self._context.clock.now()):
            await self._context.tell(item)
        self._suspected = frozenset(bad_spots(seen.values()))

    async def _report(self) -> None:
        """Send opened and resolved alerts to the channels; not those of earlier days in the log."""
        turned, self._turned = self._turned, []
        for alert in turned:
            at = alert.last_at if alert.ended_at is None else alert.ended_at
            if at >= self._began:
                await notify(self._context.config, self._view(alert))

    async def _tell_starts(self) -> None:
        """Report hosts that start work again, whose starts failed before a restart of the
        daemon."""
        for alert in self._standing:
            name = alert.host
            if alert.rule.topic != STARTS or name is None:
                continue
            if self._context.health.has_started(name, alert.last_at):
                said = f"{name} starts stages again"
                await self._context.tell(
                    self._context.event(EventKind.HOST_STARTS, said, host=name)
                )

    async def _tell_disk(self) -> None:
        """Report a nearly full disk while there is still room to store the report."""
        context = self._context
        space = await asyncio.to_thread(space_of, context.store.folder)
        is_told = any(alert.rule.topic == "disk" for alert in self._standing)
        if space.is_low and not is_told:
            said = sentence(context.store.folder, space)
            await context.tell(context.event(EventKind.STATE_DISK_LOW, said, severity="error"))
        elif is_told and not space.is_low:
            said = f"the disk of the state folder {context.store.folder} has room again"
            await context.tell(context.event(EventKind.STATE_DISK_WELL, said))

    async def _unwritten(self) -> tuple[AlertView, ...]:
        """The alert that a full disk prevents from being stored."""
        if any(alert.rule.topic == "disk" for alert in self._standing):
            return ()
        folder = self._context.store.folder
        space = await asyncio.to_thread(space_of, folder)
        if space.has_room(0):
            return ()
        now, rule = self._context.clock.now(), RULES[EventKind.STATE_DISK_LOW]
        what = sentence(folder, space)
        return (self._view(Alert(0, ("disk",), rule, now, now, now, 1, what)),)

    async def _tell_cut_off(self) -> None:
        """Report once every stage that continues without its GPUs. The daemon does not stop it:
        only its owner knows whether it has a checkpoint."""
        context = self._context
        told = {a.key for a in self._standing if a.rule.topic == CUT_OFF}
        still_open = {
            a.attempt_id: a for a in context.run_cache.open_attempts() if a.phase.is_at_work
        }
        for attempt_id, attempt in still_open.items():
            monitor = context.monitors.get(attempt.host)
            if (CUT_OFF, attempt_id) not in told and monitor and is_cut_off(attempt, monitor.host):
                message = f"{attempt_id} runs on, but {cut_off_sentence(attempt.host)}"
                event = context.event(
                    EventKind.ATTEMPT_GPU_CUT_OFF, message, attempt, severity="error"
                )
                await context.tell(event)

    async def _end_of_attempts(self) -> None:
        """Alerts about attempts end with the attempts."""
        context = self._context
        at_work = {a.attempt_id for a in context.run_cache.open_attempts() if a.phase.is_at_work}
        for alert in self._standing:
            over = _OVER.get(alert.rule.topic)
            if over is not None and (attempt_id := alert.key[1]) not in at_work:
                event = context.event(
                    over, f"{attempt_id} has ended",
                    run_id=alert.run_id, attempt_id=attempt_id, host=alert.host,
                )  # fmt: skip
                await context.tell(event)

    def _seen(self) -> dict[str, Seen]:
        context, now = self._context, self._context.clock.now()
        attempts = open_attempts(context.run_cache.runs())
        return {
            name: Seen(
                monitor.host,
                classify(
                    monitor.host, now, context.config.policy, context.daemon_id, attempts,
                    self._history(),
                ),
            )
            for name, monitor in context.monitors.items()
        }  # fmt: skip

    async def _current(self) -> Folded:
        """All events folded up to now; the first time, the log is read."""
        store = self._context.store
        async with self._lock:
            if self._folded is None:
                folded = Folded()
                folded.seq = max(0, await store.last_seq() - _OLDEST)
                self._acknowledged = dict(await store.acknowledged())
                self._folded = folded
            commits = store.commits
            full = commits != self._folded_at
            while full:
                events, upto = await store.telling_events(self._folded.seq, _KINDS, _PAGE)
                if events:
                    self._turned += self._folded.take(events)
                    self._standing = self._folded.standing()
                self._folded.seq = upto
                full = len(events) == _PAGE
            self._folded_at = commits
            return self._folded

    async def _find(self, alert_id: int) -> Alert:
        alert = (await self._current()).get(alert_id)
        if alert is None:
            raise NotFoundError(f"no alert {alert_id}", remedy="list them: hostler alerts")
        return alert

    def _seen_event(self, kind: EventKind, alert: Alert, who: Caller) -> NewEvent:
        said = f"alert {alert.id} {kind.removeprefix('alert.')}: {alert.what}"
        return self._context.event(kind, said, run_id=alert.run_id, host=alert.host, actor=who.user)

    def _view(self, alert: Alert) -> AlertView:
        seen = self._acknowledged.get(alert.id)
        if seen is not None and seen.at < alert.opened_at:
            seen = None  # it came back since
        return view_of(
            AlertView,
            alert,
            severity=alert.rule.severity,
            where=self._where(alert),
            remedy=alert.remedy,
            acknowledged_by=seen.by if seen else None,
            acknowledged_at=seen.at if seen else None,
            resolved_at=alert.resolved_at(self._context.clock.now()),
        )

    def _where(self, alert: Alert) -> str:
        monitor = self._context.monitors.get(alert.host or "")
        look = monitor.host.look if monitor is not None else None
        if alert.gpu is None or look is None:
            return alert.where
        index = next((gpu.index for gpu in look.gpus if gpu.uuid == alert.gpu), None)
        return alert.where if index is None else f"{alert.host}:{index}"
