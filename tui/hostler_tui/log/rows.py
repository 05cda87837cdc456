"""Lines of a log as strips of the terminal, marked where they match. Pure."""

from __future__ import annotations

import itertools
import re

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from hostler_tui.log.text import pieces
from hostler_tui.palette import Palette


def rows_of_line(
    data: bytes, palette: Palette, width: int, left: int | None, found: re.Pattern[str] | None
) -> tuple[Strip, ...]:
    """The rows of a line, each exactly `width` cells: several where it is wrapped (`left` None),
    else the one that begins at cell `left`."""
    shown = pieces(data, color=palette.look != "plain")
    if found is not None:
        shown = marked(shown, found, palette("match"))
    whole = Strip([Segment(text, style) for text, style in shown if text])
    if left is not None:
        return (_exactly(whole.crop(left, left + width), width),)
    cells = max(1, whole.cell_length)
    edges = range(width, cells + width, width)
    return tuple(_exactly(whole.crop(edge - width, edge), width) for edge in edges)


def _exactly(strip: Strip, width: int) -> Strip:
    return strip.adjust_cell_length(width).simplify()


def marked(
    shown: list[tuple[str, Style]], found: re.Pattern[str], mark: Style
) -> list[tuple[str, Style]]:
    """The same texts with what matches marked."""
    text = "".join(part for part, _ in shown)
    spans = [match.span() for match in found.finditer(text) if match.end() > match.start()]
    if not spans:
        return shown
    cuts = sorted({0, len(text), *(edge for span in spans for edge in span), *_borders(shown)})
    result, place = [], 0
    for begin, end in itertools.pairwise(cuts):
        while place < len(spans) and spans[place][1] <= begin:
            place += 1
        inside = place < len(spans) and spans[place][0] <= begin
        style = _style_at(shown, begin)
        result.append((text[begin:end], style + mark if inside else style))
    return result


def _borders(shown: list[tuple[str, Style]]) -> list[int]:
    borders, at = [], 0
    for part, _ in shown:
        at += len(part)
        borders.append(at)
    return borders


def _style_at(shown: list[tuple[str, Style]], place: int) -> Style:
    for part, style in shown:
        place -= len(part)
        if place < 0:
            return style
    return Style.null()
