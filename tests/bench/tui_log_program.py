"""The screen that bench_tui_log runs in a terminal: `... RUN STAGE`; the key o opens the log."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from hostler_tui.app import HostlerApp
from hostler_tui.lines import line
from hostler_tui.log.view import LogView
from hostler_tui.widgets.lab_screen import LabScreen
from hostler_tui.widgets.pane import Pane


class LogScreen(LabScreen):
    """One log."""

    NAME = "log"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("o", "open_log", "open")]

    def body(self) -> Iterable[Widget]:
        """A note that shows that the daemon is met, and the log."""
        yield Pane(id="note")
        yield LogView()

    def draw_body(self) -> None:
        """Ready once the daemon answers."""
        note = "press any key" if self.lab.connected else "connecting"
        self.query_one("#note", Pane).show([line(note)])

    def action_open_log(self) -> None:
        """Open it."""
        view = self.query_one(LogView)
        view.open(sys.argv[1], sys.argv[2])
        view.focus()


class LogApp(HostlerApp):
    """The product with that screen alone."""

    MAIN_SCREENS = {"log": LogScreen}  # noqa: RUF012
    DEFAULT_MODE = "log"


if __name__ == "__main__":
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    LogApp().run()
