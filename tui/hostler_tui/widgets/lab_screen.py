"""The base class of main screens: a frame around a body, redrawn on the app's tick; keys that
are off without a daemon."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from hostler_tui.lab import Lab
from hostler_tui.screen_actions import for_screen
from hostler_tui.widgets.frame import banner, footer_lines, top_line
from hostler_tui.widgets.pane import Pane

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp


class LabScreen(Screen[None]):
    """A main screen. Subclasses give `NAME`, `body` and `draw_body`, and `action_...` methods."""

    app: LabApp

    NAME: ClassVar[str] = ""
    TAB: ClassVar[str] = ""
    """The tab it belongs to; its own name by default."""

    def __init__(self) -> None:
        super().__init__()
        self._was_whole = False
        for action in for_screen(self.NAME):
            own = hasattr(self, f"action_{action.method}")
            does = action.name if own else f"app.{action.name}"
            for key in action.keys:  # Textual's own, as of Tab, would come first
                self._bindings.key_to_bindings.pop(key, None)
            # What has priority is done before the next key is given to anybody.
            keys, first = ",".join(action.keys), action.types
            self._bindings.bind(keys, does, action.title, show=False, priority=first)

    @property
    def lab(self) -> Lab:
        """The known data."""
        return self.app.lab

    def compose(self) -> ComposeResult:
        """The frame and the body."""
        yield Pane(id="top")
        yield Pane(id="banner")
        yield from self.body()
        yield Pane(id="foot")

    def body(self) -> Iterable[Widget]:
        """The widgets between the top line and the footer."""
        return ()

    def draw_body(self) -> None:
        """Show what the model says now; called twice a second and after keys. Has to be cheap
        where nothing changed."""

    def selected_id(self) -> str | None:
        """The id or name that `y` copies."""
        return None

    def selected_command(self) -> str | None:
        """The command line that `Y` copies: shows or does the same."""
        return None

    @property
    def is_whole(self) -> bool:
        """Whether its widgets exist: not before they are made, nor while it is being closed."""
        if not {child.id for child in self.children} >= {"top", "foot"}:
            return False
        if not self._was_whole:  # what lies in containers is made after them
            self._was_whole = all(child.is_mounted for child in self.walk_children(Widget))
        return self._was_whole

    def draw(self) -> None:
        """Draw frame and body."""
        now, width = time.time(), self.size.width
        if not width or not self.is_whole:
            return
        tab = self.TAB or self.NAME
        paused = self.app.is_paused
        self.query_one("#top", Pane).show([top_line(self.lab, tab, paused, width, now)])
        self.query_one("#banner", Pane).show(banner(self.lab, now))
        most = 1 if self.size.height < 20 else 2
        foot = footer_lines(self.NAME, width, self.lab.is_live, most)
        self.query_one("#foot", Pane).show(foot)
        self.draw_body()

    def on_screen_resume(self) -> None:
        """Draw at once when it becomes visible again."""
        self.draw()

    def on_resize(self) -> None:
        """Draw for the new size."""
        self.call_after_refresh(self.draw)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Actions that need the daemon are disabled while it is away, all actions while widgets are
        missing."""
        if not self.is_whole:
            return False
        for known in for_screen(self.NAME):
            if known.method == action and known.types and self.is_typed_into:
                return False
            if known.method == action and known.needs_daemon:
                return True if self.lab.is_live else None
        return True

    @property
    def is_typed_into(self) -> bool:
        """Whether keys are letters now."""
        return isinstance(self.focused, Input)
