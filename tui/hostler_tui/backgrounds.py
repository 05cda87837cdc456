"""The last step of drawing a line: adds the theme's background, or removes all colour
(NO_COLOR).

Lines say only what sets a text apart. Without its own background, a light theme would be
unreadable on a dark terminal.
"""

from __future__ import annotations

from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter


class Grounded(LineFilter):
    """Gives text without a colour, or without a background, those of the look."""

    def __init__(self, ground: Style) -> None:
        super().__init__()
        self._ground = ground

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same text, without the terminal's own colours."""
        return [
            Segment(text, _onto(self._ground, style), control) for text, style, control in segments
        ]


@lru_cache(4096)
def _onto(ground: Style, style: Style | None) -> Style:
    return ground if style is None else ground + style


class Colourless(LineFilter):
    """Takes the colours out of everything that is drawn (NO_COLOR).

    Textual's own answer to NO_COLOR are greys, which are colours to a terminal and to its reader.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same text in its styles without their colours."""
        return [
            Segment(text, None if style is None else _without(style), control)
            for text, style, control in segments
        ]


@lru_cache(4096)
def _without(style: Style) -> Style:
    return style.without_color
