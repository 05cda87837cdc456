"""What can be done on the fleet screen and on a host's. Pure."""

from __future__ import annotations

from hostler_tui.actions import Action

FLEET = ("fleet",)

FLEET_ACTIONS: tuple[Action, ...] = (
    Action("open", ("enter",), "open", "Open the host", FLEET, footer=1),
    Action("fold", ("x",), "fold", "One row a GPU, or one a host", FLEET, footer=5),
)
