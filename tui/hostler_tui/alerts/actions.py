"""The keys of the screen of alerts and events. Pure."""

from __future__ import annotations

from hostler_tui.actions import Action

ALERTS = ("alerts",)

ALERT_ACTIONS: tuple[Action, ...] = (
    Action("open", ("enter",), "open", "Open the run or host of the alert", ALERTS,
           footer=1),
    Action("acknowledge", ("a",), "ack", "Acknowledge the alert, or the marked ones",
           ALERTS, footer=2, needs_daemon=True, command="hostler alerts ack {id}"),
    Action("unacknowledge", ("u",), "un-ack", "Undo the acknowledgement", ALERTS, footer=3,
           needs_daemon=True, command="hostler alerts unack {id}"),
    Action("events", ("e",), "events", "Show all events, or the alerts", ALERTS,
           footer=4, command="hostler events"),
    Action("filter", ("slash",), "filter",
           "Filter: words, and severity=critical host~gpu state=open; Enter keeps, "
           "Esc clears, up recalls", ALERTS, footer=5, types=True),
)  # fmt: skip
