"""Where the cursor of a table is while rows come and go. Pure.

A key acts on what the person saw under the cursor when it was pressed. So the cursor stays on its
row, and where that row goes by itself, no row has the cursor until the person moves it or the row
is back. Only what the person did, like a filter, lets it slide to a neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from hostler_tui.table_rows import Row


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place among the rows."""

    at: int = 0
    gone: str | None = None
    """The key of the row that it was on, where that one is not there: nothing is selected."""


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
    """The marked rows that are there, and for each that is not, one of its kin."""
    keys = {row.key for row in rows}
    gone = {kin(key) for key in marks if key not in keys}
    first = {kin(row.key): row.key for row in reversed(rows) if row.selectable} if gone else {}
    return frozenset({*(keys & set(marks)), *(first[name] for name in gone if name in first)})


def _nearest(at: int, rows: Sequence[Row], fits: Callable[[str], bool]) -> int | None:
    """The next row that can be selected and fits, from `at` on, else before it."""
    place = min(at, max(0, len(rows) - 1))
    for near in (*range(place, len(rows)), *range(place - 1, -1, -1)):
        if rows[near].selectable and fits(rows[near].key):
            return int(near)
    return None
