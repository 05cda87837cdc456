"""The text input of dialogs and filters: longest text, and how a long paste is handled.

A paste without brackets comes as thousands of keys, and each would filter, draw or search. So only
the latest change of an input is handled, and its length is limited.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Unpack

from textual.widgets import Input

from hostler_tui.widgets.options import InputOptions

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp

MOST = 500
"""The most characters of a filter, a search, a name or a path."""
TELL_EVERY_S = 5.0


class TextLine(Input):
    """An `Input` whose cursor does not blink, of at most `most` characters."""

    app: LabApp

    def __init__(
        self, value: str = "", *, most: int = MOST, **options: Unpack[InputOptions]
    ) -> None:
        super().__init__(value, max_length=max(most, len(value)), **options)
        self.cursor_blink = False
        self._told_at = float("-inf")

    def restricted(self) -> None:
        """The text is full: show one notice, not one for each of a thousand keys."""
        now = time.monotonic()
        if now - self._told_at > TELL_EVERY_S:
            self._told_at = now
            self.app.tell(f"no more than {self.max_length} characters fit here", "warning")


def is_latest(event: Input.Changed) -> bool:
    """Whether nothing was typed since; else another event follows."""
    return event.value == event.input.value
