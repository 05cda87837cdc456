"""What tables show: columns, rows, and how cells are fitted to a width. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hostler.base.text import clean
from hostler_tui.cells import cell_width, cut, pad
from hostler_tui.lines import Line


@dataclass(frozen=True, slots=True)
class Head:
    """A column: where space is short, the one with the highest `drop` goes first."""

    title: str
    width: int
    flex: bool = False
    """Takes what is left of the width."""
    right: bool = False
    drop: int = 0
    """0: always shown."""


Cells = tuple[str | tuple[str, str] | Line, ...]
"""In the order of the heads, each plain text or text with a role or spans."""


class Late:
    """Cells that are made when they are first looked at: of hundreds of rows few are in sight."""

    __slots__ = ("_cells", "_make")

    def __init__(self, make: Callable[[], Cells]) -> None:
        self._make: Callable[[], Cells] | None = make
        self._cells: Cells = ()

    def __call__(self) -> Cells:
        """What they are. What they were made of is let go: it may be a whole fleet."""
        if self._make is not None:
            self._cells, self._make = self._make(), None
        return self._cells

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Late) and self() == other()

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table."""

    key: str
    told: Cells | Late
    role: str = ""
    """Of the whole row: "dim" for old values."""
    selectable: bool = True
    whole: bool = False
    """Its first cell goes over all columns: a heading."""

    @property
    def cells(self) -> Cells:
        """What stands in it."""
        return self.told() if isinstance(self.told, Late) else self.told


def visible_heads(heads: Sequence[Head], width: int) -> list[int]:
    """The columns that fit into a width, in their order. Rows are never dropped, columns are."""
    kept = list(range(len(heads)))
    while len(kept) > 1 and sum(heads[i].width + 1 for i in kept) - 1 > width:
        worst = max(kept, key=lambda i: heads[i].drop)
        if heads[worst].drop == 0:
            break
        kept.remove(worst)
    return kept


def widths_of(heads: Sequence[Head], kept: Sequence[int], width: int) -> list[int]:
    """How wide each kept column is: what is left goes to the flexible ones in equal parts."""
    left = width - sum(heads[i].width + 1 for i in kept) + 1
    flexible = [i for i in kept if heads[i].flex]
    share, odd = divmod(max(0, left), len(flexible)) if flexible else (0, 0)
    extra = {i: share + (n < odd) for n, i in enumerate(flexible)}
    return [max(1, heads[i].width + extra.get(i, 0)) for i in kept]


def spans_of(cell: str | tuple[str, str] | Line, width: int, right: bool) -> Line:
    """A cell as spans of exactly `width` cells."""
    if isinstance(cell, str):
        return ((pad(cut(clean(cell), width), width, right=right), ""),)
    if len(cell) == 2 and isinstance(cell[0], str) and isinstance(cell[1], str):
        return ((pad(cut(clean(cell[0]), width), width, right=right), cell[1]),)
    spans: list[tuple[str, str]] = []
    left = width
    for text, role in cell:
        shown = cut(clean(text), left)
        spans.append((shown, role))
        left -= cell_width(shown)
    return (*spans, (" " * max(0, left), ""))
