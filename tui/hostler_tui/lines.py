"""Lines of styled text as values, and the one place where they become what the terminal gets.

Every text on the screen goes through `strip_of`, and so through `hostler.base.text.clean`: names
and logs come from machines on which anybody can write anything. Pure.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from rich.segment import Segment
from textual.strip import Strip

from hostler.base.text import clean
from hostler_tui.cells import cell_width, cut
from hostler_tui.palette import Palette

Span = tuple[str, str]
"""Text as it came, and the role it is drawn in ("" for none)."""

Line = tuple[Span, ...]


def line(*parts: str | Span) -> Line:
    """A line of spans; a plain string has no role."""
    return tuple((part, "") if isinstance(part, str) else part for part in parts)


def text_of(spans: Line) -> str:
    """What a line says, cleaned, without its roles."""
    return "".join(clean(text) for text, _ in spans)


def wrapped(text: str, width: int, indent: str = "", role: str = "") -> list[Line]:
    """Text over as many lines as it needs; lines after the first are indented further."""
    parts = textwrap.wrap(
        clean(text), max(10, width), initial_indent=indent, subsequent_indent=f"{indent}  "
    )
    return [line((part, role)) for part in parts or [indent]]


def strip_of(spans: Iterable[Span], palette: Palette, width: int, under: str = "") -> Strip:
    """A line of exactly `width` cells; `under` is the role of the whole line (a cursor's).

    What does not fit is cut, with an ellipsis.
    """
    base = palette(under)
    segments: list[Segment] = []
    left = width
    for text, role in spans:
        shown = cut(clean(text), left)
        if not shown:
            continue
        style = palette(role) + base if under else palette(role)
        segments.append(Segment(shown, style))
        left -= cell_width(shown)
        if left <= 0:
            break
    if left > 0:
        segments.append(Segment(" " * left, base))
    return Strip(Segment.simplify(segments), width)
