"""The rules of alerts: which events open and resolve one, its severity, its remedy, how many are
kept, and when a repeated problem counts as the same.

Pure, and one event at a time, so that a long log is read once. The number of an alert is that of
its first event: it stays the same however often the log is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from hostler.model.events import FAILED, EventKind
from hostler.model.runs import Event

DAY = 86_400.0
_AGAIN_WITHIN_S = 600.0
"""A problem that comes back so soon after it was resolved is the same alert."""
_MOST = 2000
_MOST_OF_HOST = 200


@dataclass(frozen=True, slots=True)
class Rule:
    """The meaning of a kind of event for alerts."""

    topic: str
    """Events of one topic with the same key form one alert."""
    severity: str
    remedy: str
    """`{host}` and `{run}` stand for the event's."""
    lasts: bool = False
    """The alert stays open until an event resolves it; else it closes after a day."""


_HOST = "hostler doctor {host}"
_STARTS = "hostler doctor {host}; after the repair: hostler undrain {host}"
_GPU = "hostler drain {host}, then hostler doctor {host}; a reboot of the host may repair it"
_XID = "hostler gpus --host {host} -o wide; usually a fault of the program that ran there"
_RUN = "hostler show {run}; hostler logs {run}; hostler retry {run}"
STARTS = "start"
"""Topic of hosts on which no stage can start."""
EXPIRY = "expiry"
"""Topic of files of runs that will be removed soon; its keys end in the run's id."""
OUTPUTS = "outputs"
"""Topic of stored outputs that will be removed soon."""
KEPT = "kept"
"""Topic of hosts, or of the store, that exceed their limit for kept files."""
CUT_OFF = "cutoff"
"""Topic of stages that continue without their GPUs; its keys end in the attempt's id."""
STRAY = "stray"
"""Topic of stages that use GPUs that they were not given; its keys end in the attempt's id."""
SERVICE = "service"
"""Topic of replicas that fail again and again; its keys name a run and a stage."""
_WITHOUT_GPU = (
    "hostler logs {run}, and hostler retry {run} once it was stopped; hostler doctor {host}"
)
_DAEMON = "hostler events; the daemon's log has details"

RULES: Mapping[str, Rule] = {
    EventKind.HOST_UNREACHABLE: Rule("host", "warning", _HOST, lasts=True),
    EventKind.HOST_REFUSED: Rule("host", "critical", _HOST, lasts=True),
    EventKind.HOST_STARTS_NOTHING: Rule(STARTS, "critical", _STARTS, lasts=True),
    EventKind.HOST_DRAINED: Rule("drain", "info", "hostler undrain {host}", lasts=True),
    EventKind.GPU_FAULT: Rule("gpu", "critical", _GPU, lasts=True),
    EventKind.GPU_XID: Rule("xid", "warning", _XID),
    EventKind.GPU_UNHEALTHY: Rule("gpu", "critical", _GPU, lasts=True),
    EventKind.GPU_CONTESTED: Rule(
        "contest", "critical", "hostler gpus --host {host} -o wide", lasts=True
    ),
    EventKind.ATTEMPT_FAILED: Rule("run", "warning", _RUN),
    EventKind.ATTEMPT_LOST: Rule("run", "warning", _RUN),
    EventKind.ATTEMPT_NOT_STARTED: Rule("run", "warning", _RUN),
    EventKind.RUN_FAILED: Rule("run", "warning", _RUN),
    EventKind.ATTEMPT_GPU_CUT_OFF: Rule(CUT_OFF, "critical", _WITHOUT_GPU, lasts=True),
    EventKind.ATTEMPT_STRAY: Rule(STRAY, "warning", "hostler show {run}", lasts=True),
    EventKind.SERVICE_FAILING: Rule(
        SERVICE, "critical", "hostler logs {run}; to stop it: hostler cancel {run}", lasts=True
    ),
    EventKind.ATTEMPT_METRICS_LOST: Rule("loss", "warning", "hostler show {run}"),
    EventKind.ATTEMPT_LOG_LOST: Rule("loss", "warning", "hostler show {run}"),
    EventKind.WORKLOAD_NOT_REMOVED: Rule("workload", "warning", _HOST),
    EventKind.WORKLOAD_UNKNOWN: Rule("workload", "warning", _HOST),
    EventKind.HOST_NOISY: Rule("noise", "warning", _HOST),
    EventKind.CONFIG_REFUSED: Rule("config", "warning", "hostler config show", lasts=True),
    EventKind.FILES_EXPIRING: Rule(
        EXPIRY, "warning", "hostler get {run}, or hostler keep {run}", lasts=True
    ),
    EventKind.FILES_EXPIRING_FETCHED: Rule(EXPIRY, "info", "hostler keep {run}", lasts=True),
    EventKind.OUTPUTS_EXPIRING: Rule(
        OUTPUTS, "info", "hostler get RUN, or hostler keep RUN; hostler gc --dry-run", lasts=True
    ),
    EventKind.FILES_OVER_BUDGET: Rule(
        KEPT, "warning", "hostler gc --dry-run; hostler get and hostler rm for runs", lasts=True
    ),
    EventKind.FILES_NOT_REMOVED: Rule("files", "warning", _HOST),
    EventKind.FILES_LOST: Rule("files", "warning", "hostler show {run}"),
    EventKind.STATE_FAILED: Rule(
        "state", "critical", "check the disk of the state folder: df, dmesg"
    ),
    EventKind.STATE_DAMAGED: Rule("state", "critical", _DAEMON),
    EventKind.STATE_DISK_LOW: Rule(
        "disk", "critical", "free space there: hostler gc, df, du", lasts=True
    ),
    EventKind.DAEMON_SUPERSEDED: Rule(
        "generation", "critical", "hostler daemon status", lasts=True
    ),
}
_CLOSED = Rule("drain", "critical", "restart {host}, then hostler undrain {host}", lasts=True)
_OTHER_FAILURE = Rule("action", "warning", _DAEMON)

RESOLVES: Mapping[str, tuple[str, ...]] = {
    EventKind.HOST_RETURNED: ("host",),
    EventKind.HOST_UNDRAINED: ("drain", STARTS),
    EventKind.HOST_STARTS: (STARTS,),
    EventKind.HOST_REMOVED: ("host", "drain", STARTS, "gpu", "contest", KEPT),
    EventKind.GPU_HEALTHY: ("gpu",),
    EventKind.GPU_SETTLED: ("contest",),
    EventKind.RUN_SUCCEEDED: ("run", SERVICE),
    EventKind.RUN_CANCELLED: ("run", SERVICE),
    EventKind.RUN_FAILED: (SERVICE,),
    EventKind.ATTEMPT_READY: (SERVICE,),
    EventKind.SERVICE_STOPPING: (SERVICE,),
    EventKind.ATTEMPT_GPU_CUT_OFF_OVER: (CUT_OFF,),
    EventKind.ATTEMPT_STRAY_OVER: (STRAY,),
    EventKind.CONFIG_LOADED: ("config",),
    EventKind.STATE_DISK_WELL: ("disk",),
    EventKind.FILES_EXPIRY_OVER: (EXPIRY,),
    EventKind.RUN_KEPT: (EXPIRY,),
    EventKind.FILES_WITHIN_BUDGET: (KEPT,),
    EventKind.OUTPUTS_EXPIRY_OVER: (OUTPUTS,),
}
"""Kind of event -> topics whose alert with the same key it resolves."""

_QUIET: Mapping[str, str] = {EventKind.ATTEMPT_NOT_STARTED: "info"}
"""Kinds that also have this severity when no person has to act."""
_ABOUT_A_GPU = ("gpu", "contest", "xid")
_ABOUT_A_HOST = ("host", "drain", "noise", STARTS, KEPT)

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert, open or resolved."""

    id: int
    key: Key
    rule: Rule
    at: float
    """When it was first reported."""
    opened_at: float
    """When it was last reported after being resolved: an earlier acknowledgement does not count."""
    last_at: float
    count: int
    what: str
    run_id: str | None = None
    host: str | None = None
    gpu: str | None = None
    ended_at: float | None = None

    def resolved_at(self, now: float) -> float | None:
        """When it was resolved; None: it is open."""
        if self.ended_at is None and not self.rule.lasts and now - self.last_at >= DAY:
            return self.last_at + DAY
        return self.ended_at

    @property
    def where(self) -> str:
        """The host or the run it is about."""
        return self.run_id or self.host or "daemon"

    @property
    def remedy(self) -> str | None:
        """The command that may help."""
        return self.rule.remedy.format(host=self.host or "HOST", run=self.run_id or "RUN")


def rule_of(event: Event) -> Rule | None:
    """The rule for an event; None: the event makes no alert."""
    if _QUIET.get(event.kind) == event.severity:
        return None
    if event.kind == EventKind.HOST_DRAINED and event.severity == "error":
        return _CLOSED  # by Hostler itself
    rule = RULES.get(event.kind)
    if rule is None and event.kind.endswith(FAILED) and event.severity != "info":
        return _OTHER_FAILURE
    return rule


def key_of(topic: str, event: Event) -> Key:
    """The subject of the event: of two events with equal keys, the later one opens no new alert."""
    if topic in _ABOUT_A_GPU:
        return (topic, event.host or "", event.gpu or "")
    if topic in _ABOUT_A_HOST:
        return (topic, event.host or "")
    if topic in (CUT_OFF, STRAY):
        return (topic, event.attempt_id or "")
    if topic == SERVICE:
        return (topic, event.run_id or "", event.stage or "")
    if topic == EXPIRY:
        return (topic, event.run_id or "")
    if topic == "run":
        return (topic, event.run_id or event.attempt_id or "")
    if topic in ("config", "state", "disk", OUTPUTS):
        return (topic,)
    return (topic, event.kind, event.host or "", event.run_id or "", event.message)


class Folded:
    """The alerts of the events processed so far."""

    def __init__(self) -> None:
        self._alerts: dict[int, Alert] = {}
        self._latest: dict[Key, int] = {}
        self._of_host: Counter[str] = Counter()
        self.seq = 0
        """Number of the last event that was processed or skipped."""

    def take(self, events: Iterable[Event]) -> list[Alert]:
        """Process events that follow the earlier ones. Returns every alert that one of them opened
        or resolved, as it was then, in their order."""
        turned: list[Alert] = []
        for event in events:
            self.seq = event.seq
            rule = rule_of(event)
            if rule is not None:
                turned += self._tell(rule, event)
            for topic in RESOLVES.get(event.kind, ()):
                turned += self._resolve(topic, event)
        return turned

    def all(self) -> list[Alert]:
        """The newest first."""
        return sorted(self._alerts.values(), key=lambda a: (a.last_at, a.id), reverse=True)

    def get(self, alert_id: int) -> Alert | None:
        """The alert of that number."""
        return self._alerts.get(alert_id)

    def standing(self) -> list[Alert]:
        """The alerts that last and are not resolved."""
        return [a for a in self._alerts.values() if a.rule.lasts and a.ended_at is None]

    def forget_run(self, run_id: str) -> None:
        """Drop the alerts of a removed run: it no longer exists."""
        for alert in [a for a in self._alerts.values() if a.run_id == run_id]:
            self._drop(alert)

    def _tell(self, rule: Rule, event: Event) -> list[Alert]:
        """Note the event; returns the alert if the event opened it."""
        key = key_of(rule.topic, event)
        before = self._alerts.get(self._latest.get(key, 0))
        if before is None or not _is_same(before, event):
            opened = _first(rule, key, event)
            self._put(opened)
            return [opened]
        # How an attempt ended says more than that therefore the run did.
        says_less = event.kind == EventKind.RUN_FAILED and before.ended_at is None
        again = replace(
            before,
            rule=rule,
            last_at=event.at,
            opened_at=event.at if before.ended_at is not None else before.opened_at,
            count=before.count + (0 if says_less else 1),
            what=before.what if says_less else event.message,
            ended_at=None,
        )
        self._put(again)
        return [again] if before.ended_at is not None else []

    def _resolve(self, topic: str, event: Event) -> list[Alert]:
        """Resolve the alerts that the event ends; returns them."""
        resolved: list[Alert] = []
        keys = [key_of(topic, event)]
        if event.kind == EventKind.HOST_REMOVED:
            keys = [key for key in self._latest if key[:2] == (topic, event.host)]
        if topic == SERVICE and event.stage is None:  # the end of its run
            keys = [key for key in self._latest if key[:2] == (topic, event.run_id)]
        for key in keys:
            alert = self._alerts.get(self._latest.get(key, 0))
            if alert is not None and alert.ended_at is None:
                resolved.append(replace(alert, ended_at=event.at))
                self._put(resolved[-1])
        return resolved

    def _put(self, alert: Alert) -> None:
        if alert.id not in self._alerts and alert.host is not None:
            self._of_host[alert.host] += 1
        self._alerts[alert.id] = alert
        self._latest[alert.key] = alert.id
        if alert.host is not None and self._of_host[alert.host] > _MOST_OF_HOST:
            self._drop_some([a for a in self._alerts.values() if a.host == alert.host])
        if len(self._alerts) > _MOST:
            self._drop_some(list(self._alerts.values()))

    def _drop_some(self, alerts: list[Alert]) -> None:
        """Drop the oldest tenth: dropping a single one each time would mean a search through all
        for each event."""
        alerts.sort(key=lambda a: (a.rule.lasts and a.ended_at is None, a.last_at))
        for gone in alerts[: max(1, len(alerts) // 10)]:
            self._drop(gone)

    def _drop(self, gone: Alert) -> None:
        del self._alerts[gone.id]
        if self._latest.get(gone.key) == gone.id:
            del self._latest[gone.key]
        if gone.host is not None:
            self._of_host[gone.host] -= 1


def _is_same(before: Alert, event: Event) -> bool:
    if before.ended_at is not None:
        return event.at - before.ended_at < _AGAIN_WITHIN_S
    return before.rule.lasts or event.at - before.last_at < DAY


def _first(rule: Rule, key: Key, event: Event) -> Alert:
    return Alert(
        id=event.seq,
        key=key,
        rule=rule,
        at=event.at,
        opened_at=event.at,
        last_at=event.at,
        count=1,
        what=event.message,
        run_id=event.run_id,
        host=event.host,
        gpu=event.gpu,
    )
