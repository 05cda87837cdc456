"""Screens that are imported when they are first shown: the first picture does not wait for them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from textual.screen import Screen


def later(module: str, name: str) -> Callable[[], Screen[Any]]:
    """Makes the screen of that name from its module here."""

    def make() -> Screen[Any]:
        made: Screen[Any] = getattr(
            importlib.import_module(f"hostler_tui.screens.{module}"), name
        )()
        return made

    return make
