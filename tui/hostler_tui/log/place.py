"""Scroll positions of a log whose lines may wrap. Pure.

A place is a line among those that are shown, and a row of it.
"""

from __future__ import annotations

from collections.abc import Callable

Place = tuple[int, int]
RowsOf = Callable[[int], int]
"""The number of rows of a line."""


def down(place: Place, by: int, count: int, rows_of: RowsOf) -> Place:
    """This many rows further, at most the last row of the last line."""
    line, row = place
    row += by
    while line < count and row >= (rows := rows_of(line)):
        if line == count - 1:
            return line, rows - 1
        line, row = line + 1, row - rows
    return line, row


def up(place: Place, by: int, rows_of: RowsOf) -> Place:
    """This many rows back, at most the first."""
    line, row = place
    row -= by
    while row < 0:
        if line == 0:
            return 0, 0
        line -= 1
        row += rows_of(line)
    return line, row


def top_for_end(count: int, height: int, rows_of: RowsOf) -> Place:
    """The first row on the screen when the last row of line `count - 1` is the lowest."""
    if count <= 0:
        return 0, 0
    return up((count - 1, rows_of(count - 1) - 1), height - 1, rows_of)


def on_screen(top: Place, height: int, count: int, rows_of: RowsOf) -> list[Place]:
    """The visible rows from `top` on."""
    line, row = top
    found: list[Place] = []
    while line < count and len(found) < height:
        found += [(line, r) for r in range(row, rows_of(line))][: height - len(found)]
        line, row = line + 1, 0
    return found
