"""How wide text is, quickly: nearly all of it has one cell a character. Pure.

Bars, sparklines and the ellipsis are no ASCII, and the general way looks each character up.
"""

from __future__ import annotations

import re

from hostler.base import table

_PLAIN = re.compile(r"[ -~…·─-▟]*")
"""Characters of one cell: those that this interface draws with."""


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
