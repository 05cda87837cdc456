"""The actions of each screen, gathered from the files that hold them. Pure."""

from __future__ import annotations

from hostler_tui.actions import Action
from hostler_tui.actions_alerts import ALERT_ACTIONS
from hostler_tui.actions_fleet import FLEET_ACTIONS
from hostler_tui.actions_history import HISTORY_ACTIONS
from hostler_tui.actions_queue import QUEUE_ACTIONS
from hostler_tui.actions_run import RUN_ACTIONS

SCREEN_ACTIONS: tuple[Action, ...] = (
    *FLEET_ACTIONS, *QUEUE_ACTIONS, *RUN_ACTIONS, *HISTORY_ACTIONS, *ALERT_ACTIONS,
)  # fmt: skip
