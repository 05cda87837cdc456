"""Tables for terminals and pipes: column widths, truncation, alignment, and the colours. No
borders, no library.

On a terminal: a header, columns fitted to the width. Piped: tab-separated values, no header,
nothing cut.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from functools import lru_cache

from hostler.base.text import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TextIO

GAP = "  "


class Column:
    """A column: its title, and how it is laid out.

    `right` aligns numbers; `flex` lets it be cut to `least` characters where space is short;
    `paint` colours a finished cell without changing its width.
    """

    __slots__ = ("flex", "least", "paint", "right", "title")

    def __init__(
        self,
        title: str,
        *,
        right: bool = False,
        flex: bool = False,
        least: int = 8,
        paint: Callable[[str], str] | None = None,
    ) -> None:
        self.title = title
        self.right = right
        self.flex = flex
        self.least = max(least, len(title))
        self.paint = paint


def cell_width(text: str) -> int:
    """How many terminal cells `text` takes."""
    if text.isascii():
        return len(text)
    return sum(map(_char_width, text))


@lru_cache(maxsize=2048)  # the same few characters, thousands of times
def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells, with an ellipsis where something is missing."""
    if cell_width(text) <= width:
        return text
    if width <= 0:
        return ""
    kept, used = [], 0
    for char in text:
        used += _char_width(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def pad(text: str, width: int, *, right: bool = False) -> str:
    """`text` filled with spaces to `width` cells."""
    missing = " " * max(0, width - cell_width(text))
    return missing + text if right else text + missing


def render_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None = None,
    color: bool = False,
    header: bool = True,
) -> str:
    """The table for a terminal of `width` cells (None: as wide as it needs). Cleans every cell."""
    cells = [[clean(text) for text in row] for row in rows]
    widths = _fit(columns, cells, width)
    lines = []
    if header:
        lines.append(_line([c.title for c in columns], columns, widths, False, width))
    lines += [_line(row, columns, widths, color, width) for row in cells]
    return "\n".join(lines) + "\n" if lines else ""


def render_tsv(rows: Sequence[Sequence[str]]) -> str:
    """Tab-separated values, a line a row, nothing cut. Cleans every cell (tabs too)."""
    return "".join("\t".join(clean(text) for text in row) + "\n" for row in rows)


def _fit(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int | None) -> list[int]:
    widths = [
        max([len(column.title), *(cell_width(row[n]) for row in cells)])
        for n, column in enumerate(columns)
    ]
    if width is None:
        return widths
    excess = sum(widths) + len(GAP) * (len(columns) - 1) - width
    while excess > 0:
        # The widest column gives way first, so that no single one is cut to nothing.
        flexible = [n for n, c in enumerate(columns) if c.flex and widths[n] > c.least]
        if not flexible:
            break
        widest = max(flexible, key=widths.__getitem__)
        others = [widths[n] for n in flexible if n != widest]
        floor = max([columns[widest].least, *(w for w in others if w < widths[widest])])
        given = min(excess, max(1, widths[widest] - floor))
        widths[widest] -= given
        excess -= given
    return widths


def _line(
    row: Sequence[str],
    columns: Sequence[Column],
    widths: Sequence[int],
    color: bool,
    width: int | None,
) -> str:
    texts = [
        pad(cut(text, size), size, right=column.right)
        for text, column, size in zip(row, columns, widths, strict=True)
    ]
    line = GAP.join(texts).rstrip()
    if width is not None and cell_width(line) > width:
        return cut(line, width)
    if not color:
        return line
    painted = [
        column.paint(text) if column.paint else text
        for text, column in zip(texts, columns, strict=True)
    ]
    return GAP.join(painted).rstrip()


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether output goes to a terminal; a closed stream does not."""
    out = sys.stdout if stream is None else stream
    try:
        return out.isatty()
    except (AttributeError, ValueError):
        return False


def terminal_width(stream: TextIO | None = None) -> int:
    """The terminal's width in cells; COLUMNS overrides it; 80 if it is unknown."""
    told = os.environ.get("COLUMNS", "")
    if told.isdigit() and int(told) > 0:
        return int(told)
    out = sys.stdout if stream is None else stream
    try:
        return os.get_terminal_size(out.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 80


def wants_color(
    choice: str = "auto",
    stream: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
) -> bool:
    """Whether to colour: `choice` is "auto", "always" or "never" (--color)."""
    env = os.environ if environ is None else environ
    if choice != "auto":
        return choice == "always"
    if env.get("NO_COLOR"):
        return False
    if env.get("FORCE_COLOR"):
        return True
    return is_terminal(stream) and env.get("TERM", "") != "dumb"


_CODES = {
    "green": "32", "yellow": "33", "red": "31", "magenta": "35", "cyan": "36", "dim": "2",
    "bold": "1",
}  # fmt: skip


def style(text: str, name: str) -> str:
    """`text` in a style of the small set used here."""
    return f"\x1b[{_CODES[name]}m{text}\x1b[0m" if text else text
