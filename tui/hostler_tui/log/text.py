"""Renders lines of a log: colours that are kept, harmless escapes, marked matches, longest line
shown. Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from rich.color import Color, ColorParseError
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from hostler.base.table import cut
from hostler.base.text import clean
from hostler_tui.palette import Palette

MOST_CELLS = 4096
"""The most cells of a line on the screen; the file keeps the whole line."""
MOST_BYTES = 32 * 1024
"""The most bytes of a line that are read to show it."""

_SGR = re.compile(r"\x1b\[([0-9;:]{0,40})m")
_OTHER = re.compile(r"\x1b(?:\[[0-9;:?<=>]{0,40}[ -/]*[@-~]|\][^\x07\x1b]{0,400}(?:\x07|\x1b\\))")
"""Sequences of other kinds (cursor, titles, links): dropped whole, so that no rest is shown."""

_FLAGS = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "reverse", 9: "strike"}
_OFF = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("reverse",),
        29: ("strike",)}  # fmt: skip


def shown_text(data: bytes) -> str:
    """The text of a line as a terminal would leave it: without its newline, and of a line that
    rewrote itself (progress bars) the last state. Escapes are still in it."""
    text = data.decode("utf-8", "replace").rstrip("\r\n")
    return text.rpartition("\r")[2] if "\r" in text else text


def plain_text(data: bytes) -> str:
    """A line as it is copied: no colours, nothing harmful, not cut."""
    return clean(_OTHER.sub("", _SGR.sub("", shown_text(data))))


def pieces(data: bytes, *, color: bool) -> list[tuple[str, Style]]:
    """A line as cleaned texts with their styles, at most `MOST_CELLS` wide."""
    text = shown_text(data)
    if "\x1b" not in text:
        return [(cut(clean(text), MOST_CELLS), Style.null())]
    return _cut(_styled(text, color), MOST_CELLS)


def _styled(text: str, color: bool) -> list[tuple[str, Style]]:
    parts = _SGR.split(text)
    state: dict[str, object] = {}
    found: list[tuple[str, Style]] = []
    style = Style.null()
    for place, part in enumerate(parts):
        if place % 2:
            _apply(state, part)
            style = Style(**state) if color else Style.null()  # type: ignore[arg-type]
        elif part:
            found.append((clean(_OTHER.sub("", part)), style))
    return found


def _cut(parts: Sequence[tuple[str, Style]], most: int) -> list[tuple[str, Style]]:
    found, left = [], most
    for text, style in parts:
        shown = cut(text, left)
        found.append((shown, style))
        left -= Segment(shown).cell_length
        if left <= 0:
            break
    return found


def _apply(state: dict[str, object], codes: str) -> None:
    """Apply an SGR sequence to the state; unknown codes change nothing."""
    numbers = [int(code) if code else 0 for code in re.split("[;:]", codes)]
    while numbers:
        code = numbers.pop(0)
        if code == 0:
            state.clear()
        elif code in _FLAGS:
            state[_FLAGS[code]] = True
        elif code in _OFF:
            for name in _OFF[code]:
                state.pop(name, None)
        elif code in (39, 49):
            state.pop("color" if code == 39 else "bgcolor", None)
        else:
            _colour(state, code, numbers)


def _colour(state: dict[str, object], code: int, rest: list[int]) -> None:
    name = "bgcolor" if 40 <= code <= 48 or 100 <= code <= 107 else "color"
    if code in (38, 48):
        found = _extended(rest)
    elif 30 <= code <= 37 or 40 <= code <= 47:
        found = Color.from_ansi(code % 10)
    elif 90 <= code <= 97 or 100 <= code <= 107:
        found = Color.from_ansi(code % 10 + 8)
    else:
        return
    if found is not None:
        state[name] = found


def _extended(rest: list[int]) -> Color | None:
    """The colour of `38;5;N` or `38;2;R;G;B`; consumes the codes that belong to it."""
    kind = rest.pop(0) if rest else 0
    wanted = {5: 1, 2: 3}.get(kind, 0)
    values, rest[:] = rest[:wanted], rest[wanted:]
    if not wanted or len(values) < wanted or max(values) > 255:
        return None
    try:
        return Color.from_ansi(values[0]) if kind == 5 else Color.from_rgb(*values)
    except ColorParseError:
        return None


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
    """The same texts with highlighted matches."""
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
