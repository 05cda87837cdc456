"""Screens that are imported when they are first shown: the first picture does not wait for them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from textual.screen import Screen


def later(room: str, name: str) -> Callable[[], Screen[Any]]:
    """Makes the screen of that name from its room."""

    def make() -> Screen[Any]:
        made: Screen[Any] = getattr(importlib.import_module(f"hostler_tui.{room}.screen"), name)()
        return made

    return make
