"""The actions of each screen, gathered from the files that hold them. Pure."""

from __future__ import annotations

from hostler_tui.actions import Action
from hostler_tui.actions_fleet import FLEET_ACTIONS

SCREEN_ACTIONS: tuple[Action, ...] = (*FLEET_ACTIONS,)
