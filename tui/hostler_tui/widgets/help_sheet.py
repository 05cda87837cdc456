"""The help sheet of a screen (keys, legend of state letters), and the list of notices."""

from __future__ import annotations

import time
from collections.abc import Sequence

from hostler_tui.actions import EVERYWHERE, Action, key_text
from hostler_tui.lab import Notice
from hostler_tui.lines import Line, hanging, line
from hostler_tui.screen_actions import for_screen
from hostler_tui.widgets.modal import Reader

_KEYS = 16

MOVING = (
    ("j k ↑ ↓", "Move"),
    ("PgUp PgDn", "A screenful"),
    ("Home End", "To the first and the last"),
    ("space", "Mark, where rows can be marked"),
    ("esc", "Back; it never quits"),
)

LEGEND = (
    ". free   L leased   i leased but idle   F used without a lease   C contested   D drained"
    "   E unhealthy   ? unknown   ~ last known values   * without a lease"
)


class HelpScreen(Reader):
    """Generated from the table of actions, so that it is always correct."""

    def __init__(self, screen: str) -> None:
        super().__init__(f"Keys of {screen}")
        self._screen = screen

    def text(self, width: int) -> Sequence[Line]:
        """Each action with its keys; then keys for moving, and the letters of states."""
        actions = [action for action in for_screen(self._screen) if action.keys]
        own = [action for action in actions if EVERYWHERE not in action.screens]
        lines: list[Line] = []
        for action in own:
            lines += action_lines(action, width)
        lines += [line(""), line((" Everywhere", "title"))] if own else []
        for action in actions[len(own) :]:
            lines += action_lines(action, width)
        lines += [line(""), line((" Moving", "title"))]
        for keys, says in MOVING:
            lines.append(line((f" {keys:<{_KEYS}}", "key"), says))
        return [*lines, line(""), line((" States", "title")), *hanging(LEGEND, width - 1, " ")]


def action_lines(action: Action, width: int) -> list[Line]:
    """The keys, their effect, and the same on the command line."""
    keys = " ".join(key_text(key) for key in action.keys)
    says, *more = hanging(action.help, max(16, width - _KEYS - 2))
    lines = [line((f" {keys:<{_KEYS}}", "key"), *says)]
    lines += [line(" " * (_KEYS + 1), *part) for part in more]
    if action.command:
        lines.append(
            line(" " * (_KEYS + 1), (f"command: {action.command.replace('{id}', 'ID')}", "dim"))
        )
    return lines


_SEVERITIES = {"error": "bad", "warning": "warn"}


class NoticesScreen(Reader):
    """All notices of toasts, the newest first."""

    def __init__(self, notices: Sequence[Notice]) -> None:
        super().__init__("Errors and notices, the newest first")
        self._notices = tuple(notices)

    def text(self, width: int) -> Sequence[Line]:
        """Time, count, and the whole text."""
        if not self._notices:
            return [line(""), line(("  No notices so far.", "dim"))]
        lines: list[Line] = []
        for notice in self._notices:
            clock = time.strftime("%H:%M:%S", time.localtime(notice.at))
            times = f" x{notice.count}" if notice.count > 1 else ""
            role = _SEVERITIES.get(notice.severity, "")
            lines += hanging(f" {clock} {notice.severity}: {notice.text}{times}", width - 1,
                             " " * 10, role)  # fmt: skip
        return lines
