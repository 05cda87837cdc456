"""The look without colour (NO_COLOR): what is drawn keeps bold, dim, reverse, and no colour at all.

Textual's own answer to NO_COLOR are greys, which are colours to a terminal and to its reader.
"""

from __future__ import annotations

from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter


class Colourless(LineFilter):
    """Takes the colours out of everything that is drawn."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same text in its styles less their colours."""
        return [
            Segment(text, None if style is None else _without(style), control)
            for text, style, control in segments
        ]


@lru_cache(1024)
def _without(style: Style) -> Style:
    return style.without_color
