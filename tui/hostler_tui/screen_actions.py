"""The whole table of what can be done, gathered from the files that hold its parts. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hostler_tui.actions import ACTIONS, EVERYWHERE, Action
from hostler_tui.alerts.actions import ALERT_ACTIONS
from hostler_tui.fleet.actions import FLEET_ACTIONS
from hostler_tui.history.actions import HISTORY_ACTIONS
from hostler_tui.queue.actions import QUEUE_ACTIONS
from hostler_tui.run.actions import RUN_ACTIONS

SCREEN_ACTIONS: tuple[Action, ...] = (
    *FLEET_ACTIONS, *QUEUE_ACTIONS, *RUN_ACTIONS, *HISTORY_ACTIONS, *ALERT_ACTIONS,
)  # fmt: skip


def for_screen(screen: str) -> Iterator[Action]:
    """The actions of one screen, its own first."""
    whole = (*SCREEN_ACTIONS, *ACTIONS)
    yield from (action for action in whole if screen in action.screens)
    yield from (action for action in whole if EVERYWHERE in action.screens)


def in_footer(screen: str) -> list[Action]:
    """What the footer shows, in its order."""
    return sorted((a for a in for_screen(screen) if a.footer), key=lambda action: action.footer)
