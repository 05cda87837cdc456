"""Columns, order, filter fields, severity words and details of alerts and events. Pure: the time
is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hostler.base.dates import local_text
from hostler.model.views.alerts import AlertView, EventView
from hostler_tui.filtering import Filter, Value
from hostler_tui.lines import Line, hanging, line
from hostler_tui.table_rows import Head, Row

ALERT_HEADS = (
    Head("SEV", 4), Head("SINCE", 8, right=True), Head("WHERE", 12, drop=1),
    Head("WHAT", 16, flex=True), Head("TIMES", 5, right=True, drop=3),
    Head("STATE", 12, drop=2),
)  # fmt: skip
EVENT_HEADS = (
    Head("WHEN", 14), Head("SEV", 4, drop=1), Head("KIND", 20, drop=2), Head("WHERE", 12, drop=3),
    Head("WHAT", 16, flex=True),
)  # fmt: skip
ALERT_FIELDS = ("severity", "state", "where", "host", "run", "what")
EVENT_FIELDS = ("severity", "kind", "host", "run", "stage", "actor", "what")

SEVERITIES = {"critical": "CRIT", "warning": "WARN", "error": "ERR", "info": "info"}
_ORDER = ("critical", "warning", "info")
_STATES = ("open", "acked", "resolved")


def state_of(alert: AlertView) -> str:
    """ "open", "acked" or "resolved"."""
    if alert.resolved_at is not None:
        return "resolved"
    return "acked" if alert.acknowledged_by else "open"


def ordered(alerts: Iterable[AlertView]) -> list[AlertView]:
    """Open alerts first, by severity and then by time; then acknowledged ones."""

    def rank(alert: AlertView) -> tuple[int, int, float]:
        severity = alert.severity
        grave = _ORDER.index(severity) if severity in _ORDER else 0
        state = _STATES.index(state_of(alert))
        return state, 0 if state == 2 else grave, -alert.last_at

    return sorted(alerts, key=rank)


def fields_of(alert: AlertView) -> Mapping[str, Value]:
    """The fields that a filter may use."""
    return {
        "severity": alert.severity, "state": state_of(alert),
        "where": alert.where, "host": alert.host, "run": alert.run_id,
        "what": alert.what,
    }  # fmt: skip


def ago(at: float | None, now: float) -> str:
    """ "3m ago"; the largest unit only."""
    if at is None:
        return "-"
    seconds = max(0, int(now - at))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return f"{seconds}s ago"


def alert_rows(alerts: Sequence[AlertView], filter: Filter, now: float) -> list[Row]:
    """The alerts that match the filter, in their order."""
    return [_alert_row(a, now) for a in ordered(alerts) if filter.holds(fields_of(a))]


def _alert_row(alert: AlertView, now: float) -> Row:
    severity, state = alert.severity, state_of(alert)
    by = f" {alert.acknowledged_by}" if state == "acked" else ""
    return Row(
        str(alert.id),
        (
            (SEVERITIES.get(severity, severity), severity if state == "open" else "dim"),
            ago(alert.at, now),
            alert.where,
            alert.what,
            f"x{alert.count}" if alert.count > 1 else "",
            f"{state}{by}",
        ),
        role="" if state == "open" else "dim",
    )


def summary(alerts: Sequence[AlertView], shown: int, filter: Filter) -> list[Line]:
    """ "open 4: 2 critical, 2 warning   acked 1   resolved 6"; below it the filter."""
    states = {state: [a for a in alerts if state_of(a) == state] for state in _STATES}
    open_ones = states["open"]
    kinds = [
        f"{sum(a.severity == kind for a in open_ones)} {kind}"
        for kind in _ORDER
        if any(a.severity == kind for a in open_ones)
    ]
    spans = [(f" open {len(open_ones)}", "title"), (f": {', '.join(kinds)}" if kinds else "", "")]
    spans += [(f"   {state} {len(states[state])}", "dim") for state in _STATES[1:]]
    return [tuple(spans), *filter_lines(filter, shown)]


def filter_lines(filter: Filter, shown: int) -> list[Line]:
    """ "/ state=open 2 shown", if a filter is set."""
    if not filter:
        return []
    return [line((" / ", "key"), filter.text, (f"   {shown:,} shown", "dim"))]


def detail_lines(
    alert: AlertView, events: Sequence[EventView], now: float, width: int, most: int
) -> list[Line]:
    """Its subject, start time, past actions, and the next command."""
    times = "once" if alert.count == 1 else f"{alert.count} times"
    last = "" if alert.count == 1 else f", last {ago(alert.last_at, now)}"
    lines: list[Line] = [line((f" {alert.where}", "title"), (f"  {alert.severity}", ""))]
    lines += hanging(f"  what    {alert.what}", width, " " * 10)
    lines.append(line(f"  count   {times}, first {_clock(alert.at)}{last}"))
    lines.append(line(f"  state   {_state_text(alert, now)}"))
    if alert.remedy:
        lines += hanging(f"  remedy  {alert.remedy}", width, " " * 10, "accent")
    about = [event for event in events if is_about(event, alert)]
    room = most - len(lines)
    if about and room > 0:
        lines += [event_line(event, first=not n) for n, event in enumerate(about[:room])]
    return lines[:most]


def _state_text(alert: AlertView, now: float) -> str:
    state = state_of(alert)
    if state == "resolved":
        return f"resolved {ago(alert.resolved_at, now)}"
    if state == "acked":
        return f"acknowledged by {alert.acknowledged_by} {ago(alert.acknowledged_at, now)}"
    return "open"


def is_about(event: EventView, alert: AlertView) -> bool:
    """Whether an event concerns the same run, or the same host."""
    if alert.run_id:
        return event.run_id == alert.run_id
    return bool(alert.host) and event.host == alert.host


def event_line(event: EventView, *, first: bool) -> Line:
    """One line for an event near an alert."""
    head = "  events  " if first else " " * 10
    return line((head, ""), (f"{_clock(event.at)} ", "dim"), event.message)


def event_fields(event: EventView) -> Mapping[str, Value]:
    """The fields that a filter may use."""
    return {
        "severity": event.severity, "kind": event.kind,
        "host": event.host, "run": event.run_id, "stage": event.stage,
        "actor": event.actor, "what": event.message,
    }  # fmt: skip


def event_rows(events: Iterable[EventView], filter: Filter) -> list[Row]:
    """The events that match the filter, in order of arrival."""
    return [_event_row(event) for event in events if filter.holds(event_fields(event))]


def _event_row(event: EventView) -> Row:
    severity = event.severity
    role = {"error": "bad", "warning": "warn"}.get(severity, "dim")
    return Row(
        str(event.seq),
        (
            (_clock(event.at), "dim"),
            (SEVERITIES.get(severity, severity), role),
            event.kind,
            event.run_id or event.host or "-",
            event.message,
        ),
    )


def event_detail(event: EventView, width: int) -> list[Line]:
    """An event in full."""
    lines = hanging(f" {event.message}", width, "  ")
    facts = (
        ("kind", event.kind), ("run_id", event.run_id), ("stage", event.stage),
        ("host", event.host), ("gpu", event.gpu), ("actor", event.actor),
    )  # fmt: skip
    parts = [f"{name} {value}" for name, value in facts if value]
    stamp = local_text("%Y-%m-%d %H:%M:%S", event.at)
    return [*lines, *hanging(f"  {stamp}  {'  '.join(parts)}", width, "  ", "dim")]


def _clock(at: float) -> str:
    return local_text("%m-%d %H:%M:%S", at)
