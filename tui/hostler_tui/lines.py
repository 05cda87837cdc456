"""Styled lines as values, and their conversion to terminal strips: width, cutting with an
ellipsis, wrapping, control characters.

Every text on the screen goes through `strip_of`, and so through `hostler.base.text.clean`: names
and logs come from machines on which anybody can write anything. How wide text is, is found quickly:
nearly all of it has one cell a character. Bars, sparklines and the ellipsis are no ASCII, and the
general way looks each character up. Pure.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from rich.segment import Segment
from textual.strip import Strip

from hostler.base import table
from hostler.base.text import clean
from hostler_tui.palette import Palette

Span = tuple[str, str]
"""Raw text, and the role in which it is drawn ("" for none)."""

Line = tuple[Span, ...]

_PLAIN = re.compile(r"[ -~…·─-▟]*")
"""Characters of one cell that this interface draws."""


def cell_width(text: str) -> int:
    """How many terminal cells `text` takes."""
    return len(text) if text.isascii() or _PLAIN.fullmatch(text) else table.cell_width(text)


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells, with an ellipsis where something is missing."""
    return text if cell_width(text) <= width else table.cut(text, width)


def pad(text: str, width: int, *, right: bool = False) -> str:
    """`text` filled with spaces to `width` cells."""
    missing = " " * max(0, width - cell_width(text))
    return missing + text if right else text + missing


def line(*parts: str | Span) -> Line:
    """A line of spans; a plain string has no role."""
    return tuple((part, "") if isinstance(part, str) else part for part in parts)


def text_of(spans: Line) -> str:
    """The text of a line, cleaned, without its roles."""
    return "".join(clean(text) for text, _ in spans)


def wrapped(text: str, width: int, indent: str = "", role: str = "") -> list[Line]:
    """Text over as many lines as it needs; lines after the first are indented further."""
    parts = textwrap.wrap(
        clean(text), max(10, width), initial_indent=indent, subsequent_indent=f"{indent}  "
    )
    return [line((part, role)) for part in parts or [indent]]


def hanging(text: str, width: int, indent: str = "", role: str = "") -> list[Line]:
    """A text as lines, broken between words, indented from the second line on."""
    parts = textwrap.wrap(text, max(10, width), subsequent_indent=indent, break_on_hyphens=False)
    return [((part, role),) for part in parts] or [(("", ""),)]


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
