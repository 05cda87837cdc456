"""The main screens with their number keys and order, and the table of all actions, from which
footer and help are made. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hostler_tui.actions import ACTIONS, EVERYWHERE, Action
from hostler_tui.alerts.actions import ALERT_ACTIONS
from hostler_tui.deploy.actions import DEPLOY_ACTIONS
from hostler_tui.fleet.actions import FLEET_ACTIONS
from hostler_tui.history.actions import HISTORY_ACTIONS
from hostler_tui.queue.actions import QUEUE_ACTIONS
from hostler_tui.run.actions import RUN_ACTIONS


@dataclass(frozen=True, slots=True)
class MainScreen:
    """A screen with its own tab and key."""

    key: str
    name: str
    """The name of its tab, its folder and its mode."""
    screen: str
    """Its class, in the folder's `screen`."""
    help: str
    actions: tuple[Action, ...]

    @property
    def going(self) -> Action:
        """The action that opens it."""
        return Action(f"go('{self.name}')", (self.key,), self.name, self.help)


MAIN_SCREENS = (
    MainScreen("1", "fleet", "FleetScreen", "All hosts and GPUs", FLEET_ACTIONS),
    MainScreen("2", "queue", "QueueScreen", "Running and pending runs", QUEUE_ACTIONS),
    MainScreen("3", "run", "RunScreen", "The run opened last, or the newest", RUN_ACTIONS),
    MainScreen(
        "4", "deploy", "DeployScreen", "Services, their releases and replicas", DEPLOY_ACTIONS
    ),
    MainScreen("5", "history", "HistoryScreen", "All runs, to search and compare", HISTORY_ACTIONS),
    MainScreen("6", "alerts", "AlertsScreen", "Alerts and events", ALERT_ACTIONS),
)
"""Tabs, modes, keys, help and palette are made from these, in this order."""

SCREEN_ACTIONS: tuple[Action, ...] = (
    *(action for main in MAIN_SCREENS for action in main.actions),
    *(main.going for main in MAIN_SCREENS),
)


def for_screen(screen: str) -> Iterator[Action]:
    """The actions of one screen, its own first."""
    whole = (*SCREEN_ACTIONS, *ACTIONS)
    yield from (action for action in whole if screen in action.screens)
    yield from (action for action in whole if EVERYWHERE in action.screens)


def in_footer(screen: str) -> list[Action]:
    """The actions in the footer, in their order."""
    return sorted((a for a in for_screen(screen) if a.footer), key=lambda action: action.footer)
