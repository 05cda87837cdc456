"""A pane that is read with the keys: arrows, PgUp, PgDn, Home, End."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from hostler_tui.widgets.pane import Pane


class ReadPane(Pane, can_focus=True):
    """Takes the height that is left, and scrolls in it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "down", show=False),
        Binding("k,up", "move(-1)", "up", show=False),
        Binding("pagedown,space", "page(1)", "page down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("home", "move(-100000)", "top", show=False),
        Binding("end", "move(100000)", "bottom", show=False),
    ]

    def on_mount(self) -> None:
        """The height that is left."""
        self.styles.height = "1fr"

    def on_focus(self) -> None:
        """From here on the keys are its own."""
        self.refresh()

    def action_move(self, by: int) -> None:
        """Lines on."""
        most = max(0, len(self.lines) - self.size.height)
        goal = max(0, min(most, self.scroll_offset.y + by))
        self.scroll_to(y=goal, animate=False, force=True)
        self.refresh()

    def action_page(self, by: int) -> None:
        """A screenful on."""
        self.action_move(by * max(1, self.size.height - 1))
