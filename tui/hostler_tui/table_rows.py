"""Contents of tables: which columns are dropped on narrow screens, widths, and where the cursor
stays as rows come and go. Pure.

A key acts on what the person saw under the cursor when it was pressed. So the cursor stays on its
row, and where that row goes by itself, no row has the cursor until the person moves it or the row
is back. Only what the person did, like a filter, lets it slide to a neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from hostler.base.text import clean
from hostler_tui.lines import Line, cell_width, cut, pad


@dataclass(frozen=True, slots=True)
class Head:
    """A column: if space is short, the column with the highest `drop` is removed first."""

    title: str
    width: int
    flex: bool = False
    """It takes the remaining width."""
    right: bool = False
    drop: int = 0
    """0: always visible."""


Cells = tuple[str | tuple[str, str] | Line, ...]
"""In the order of the heads, each plain text or text with a role or spans."""


class Late:
    """Cells that are made when they are first shown: only a few of hundreds of rows are visible."""

    __slots__ = ("_cells", "_make")

    def __init__(self, make: Callable[[], Cells]) -> None:
        self._make: Callable[[], Cells] | None = make
        self._cells: Cells = ()

    def __call__(self) -> Cells:
        """The cells. Their source is released, since it may be a whole fleet."""
        if self._make is not None:
            self._cells, self._make = self._make(), None
        return self._cells

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Late) and self() == other()

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    key: str
    told: Cells | Late
    role: str = ""
    """The role of the whole row: "dim" for old values."""
    selectable: bool = True
    whole: bool = False
    """Its first cell spans all columns: a heading."""

    @property
    def cells(self) -> Cells:
        """The cells of the row."""
        return self.told() if isinstance(self.told, Late) else self.told


def visible_heads(heads: Sequence[Head], width: int) -> list[int]:
    """The columns that fit into a width, in their order. Columns may be dropped, rows never."""
    kept = list(range(len(heads)))
    while len(kept) > 1 and sum(heads[i].width + 1 for i in kept) - 1 > width:
        worst = max(kept, key=lambda i: heads[i].drop)
        if heads[worst].drop == 0:
            break
        kept.remove(worst)
    return kept


def widths_of(heads: Sequence[Head], kept: Sequence[int], width: int) -> list[int]:
    """The width of each kept column: flexible columns share the remaining width equally."""
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


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position among the rows."""

    at: int = 0
    gone: str | None = None
    """The key of its row, if that row no longer exists: nothing is selected."""


def settled(
    before: Cursor,
    key: str | None,
    rows: Sequence[Row],
    kin: Callable[[str], str],
    *,
    may_slide: bool,
) -> Cursor:
    """The cursor that was on `key`, among new rows. Keys with the same `kin` are the same object
    to what acts on it, as stages of one run are."""
    exact = _nearest(before.at, rows, lambda other: other == key)
    if exact is not None:
        return Cursor(exact)
    alike = None if key is None else _nearest(before.at, rows, lambda other: kin(other) == kin(key))
    if alike is not None:
        return Cursor(alike)
    near = _nearest(before.at, rows, lambda other: True)
    stays_away = key is not None and not (may_slide and near is not None)
    return Cursor(near or 0, key if stays_away else None)


def still_marked(
    marks: Collection[str], rows: Sequence[Row], kin: Callable[[str], str]
) -> frozenset[str]:
    """The marked rows that exist, and for each missing one a row of its kin."""
    keys = {row.key for row in rows}
    gone = {kin(key) for key in marks if key not in keys}
    first = {kin(row.key): row.key for row in reversed(rows) if row.selectable} if gone else {}
    return frozenset({*(keys & set(marks)), *(first[name] for name in gone if name in first)})


def _nearest(at: int, rows: Sequence[Row], fits: Callable[[str], bool]) -> int | None:
    """The next matching row that can be selected, from `at` on, else before it."""
    place = min(at, max(0, len(rows) - 1))
    for near in (*range(place, len(rows)), *range(place - 1, -1, -1)):
        if rows[near].selectable and fits(rows[near].key):
            return int(near)
    return None
