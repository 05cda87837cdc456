"""A pane that is longer than its place: it takes the focus and scrolls."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from hostler_tui.widgets.pane import Pane


class ScrollPane(Pane, can_focus=True):
    """Lines that scroll by the usual keys."""

    DEFAULT_CSS = """
    ScrollPane { height: 1fr; overflow-y: auto; scrollbar-size-vertical: 1; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "down", show=False),
        Binding("k", "scroll_up", "up", show=False),
    ]
