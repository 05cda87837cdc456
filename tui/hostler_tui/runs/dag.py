"""A run's stages as a graph in rows, like `git log --graph`. Pure.

The graph is that of the file: the cells of a matrix are rows under its name, so that 10 x 100 of
them add no edges.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hostler.model.views.runs import StageView
from hostler.show.fold import Cells, base_of, fold

Needs = Mapping[str, Sequence[str]]
"""A stage of the file -> those it needs."""

UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8
_CHARS = {
    0: " ", UP: "╵", DOWN: "╷", UP | DOWN: "│", LEFT: "─", RIGHT: "─", LEFT | RIGHT: "─",
    UP | LEFT: "╯", UP | RIGHT: "╰", DOWN | LEFT: "╮", DOWN | RIGHT: "╭",
    UP | DOWN | LEFT: "┤", UP | DOWN | RIGHT: "├", UP | LEFT | RIGHT: "┴",
    DOWN | LEFT | RIGHT: "┬", UP | DOWN | LEFT | RIGHT: "┼",
}  # fmt: skip

MOST_LANES = 8
"""With more edges side by side than this, lines tell nothing: only the order is shown."""


def line_char(sides: int) -> str:
    """The character that joins these sides."""
    return _CHARS[sides]


@dataclass(frozen=True, slots=True)
class Rail:
    """One stage of the file, with the lines around it."""

    key: str
    at: str
    """In front of its name: "│ o "."""
    under: str
    """In front of further rows that belong to it: "│ │ "."""
    links: str
    """The row after it, where edges fork or meet: "├─╯"; else ""."""


@dataclass(frozen=True, slots=True)
class DagRow:
    """A row to show. `stage` is None for lines alone and for the head of a matrix."""

    key: str
    """Of the stage, of the matrix ("train/") or of alike cells ("train/waiting"); "" for lines."""
    lead: str
    stage: StageView | Cells | None = None
    cells: tuple[StageView, ...] = ()
    """Of the head of a matrix: all of them."""
    under: str = ""
    """Lines in front of further rows that belong to it."""


def needs_of(stages: Sequence[StageView]) -> dict[str, tuple[str, ...]]:
    """The graph of the file, in an order in which each stage comes after what it needs."""
    base = {stage.name: base_of(stage) for stage in stages}
    found: dict[str, dict[str, None]] = {}
    for stage in stages:
        mine = found.setdefault(base_of(stage), {})
        for name in stage.needs:
            other = base.get(name, name)
            if other != base_of(stage):
                mine[other] = None
    known = {key: tuple(n for n in needs if n in found) for key, needs in found.items()}
    return {key: known[key] for key in ordered(known)}


def ordered(needs: Needs) -> list[str]:
    """Each after what it needs, else in the order given."""
    place = {key: number for number, key in enumerate(needs)}
    waits = {key: set(of) for key, of in needs.items()}
    users: dict[str, list[str]] = {}
    for key, of in needs.items():
        for one in set(of):
            users.setdefault(one, []).append(key)
    ready = [(place[key], key) for key, of in waits.items() if not of]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        _, key = heapq.heappop(ready)
        order.append(key)
        for user in users.get(key, ()):
            waits[user].discard(key)
            if not waits[user]:
                heapq.heappush(ready, (place[user], user))
    return [*order, *(key for key in needs if key not in set(order))]


def direct(needs: Needs) -> dict[str, list[str]]:
    """Without the edges that follow from others: what is needed by something needed."""
    above: dict[str, set[str]] = {}
    found: dict[str, list[str]] = {}
    for key in ordered(needs):
        indirect = set().union(*(above.get(one, set()) for one in needs[key]))
        found[key] = [one for one in dict.fromkeys(needs[key]) if one not in indirect]
        above[key] = indirect | set(needs[key])
    return found


def rails(needs: Needs) -> list[Rail]:
    """Lines for each stage, in order."""
    edges = direct(needs)
    users: dict[str, list[str]] = {}
    for key, of in edges.items():
        for one in of:
            users.setdefault(one, []).append(key)
    lanes: list[str | None] = []
    drawn = []
    widest = 0
    for key in edges:
        column = _column(lanes, key)
        before = list(lanes)
        goals = _branch(lanes, column, users.get(key, []))
        drawn.append(_rail(key, column, before, lanes, goals))
        widest = max(widest, len(lanes))
        while lanes and lanes[-1] is None:
            lanes.pop()
    if widest > MOST_LANES:
        return [Rail(key, "o ", "  ", "") for key in edges]
    return drawn


def _column(lanes: list[str | None], key: str) -> int:
    """Where a stage stands: where the edges to it come down, else the first free lane."""
    if key not in lanes:
        free = lanes.index(None) if None in lanes else len(lanes)
        lanes[free : free + 1] = [key]
    return lanes.index(key)


def _branch(lanes: list[str | None], column: int, users: Sequence[str]) -> list[int]:
    """Lead lanes from a stage to those that need it; the columns that edges go to."""
    fresh = [user for user in users if user not in lanes]
    goals = [lanes.index(user) for user in users if user in lanes]
    lanes[column] = fresh[0] if fresh else None
    if fresh:
        goals.append(column)
    for user in fresh[1:]:
        free = next((n for n in range(column + 1, len(lanes)) if lanes[n] is None), len(lanes))
        lanes[free : free + 1] = [user]
        goals.append(free)
    return goals


def _rail(
    key: str, column: int, before: list[str | None], after: list[str | None], goals: list[int]
) -> Rail:
    at = [" " if lane is None else "│" for lane in before]
    under = list(at)
    at[column] = "o"
    under[column] = "│" if goals else " "
    links = "" if goals in ([], [column]) else _links(column, before, after, goals)
    return Rail(key, " ".join(at) + " ", " ".join(under) + " ", links)


def _links(column: int, before: list[str | None], after: list[str | None], goals: list[int]) -> str:
    """A row of lines from a stage's column to others. A lane that only passes stays unbroken."""
    size = max(len(before), len(after))
    sides = [0] * (2 * size - 1)
    for lane in range(size):
        comes = lane < len(before) and before[lane] is not None
        goes = lane < len(after) and after[lane] is not None
        sides[2 * lane] |= (UP if comes else 0) | (DOWN if goes else 0)
    for goal in goals:
        first, last = sorted((2 * column, 2 * goal))
        for x in range(first, last + 1):
            passes = x % 2 == 0 and x // 2 not in (column, *goals) and sides[x] & UP
            if not passes:
                sides[x] |= (LEFT if x > first else 0) | (RIGHT if x < last else 0)
    return "".join(line_char(side) for side in sides).rstrip()


def dag_rows(
    stages: Sequence[StageView], room: int, opened: Collection[str] = frozenset()
) -> list[DagRow]:
    """All rows: a matrix as one row where its cells are alike, else its name with rows below it,
    `room` of them at most unless its name is in `opened`."""
    groups: dict[str, list[StageView]] = {}
    for stage in stages:
        groups.setdefault(base_of(stage), []).append(stage)
    rows: list[DagRow] = []
    for rail in rails(needs_of(stages)):
        rows += _rows_of(rail, groups[rail.key], room, rail.key in opened)
        if rail.links:
            rows.append(DagRow("", rail.links))
    return rows


def _rows_of(rail: Rail, cells: Sequence[StageView], room: int, is_open: bool) -> Iterable[DagRow]:
    if len(cells) == 1:
        return [DagRow(cells[0].name, rail.at, cells[0], under=rail.under)]
    shown = list(cells) if is_open else fold(cells, max(1, room))
    if len(shown) == 1:
        return [_row(rail.at, shown[0], rail.under)]
    head = DagRow(f"{rail.key}/", rail.at, None, tuple(cells))
    inner = f"{rail.under}  "
    return [head, *(_row(inner, one, inner) for one in shown)]


def _row(lead: str, one: StageView | Cells, under: str) -> DagRow:
    if isinstance(one, Cells):
        return DagRow(f"{base_of(one.first)}/{one.first.status}", lead, one, under=under)
    return DagRow(one.name, lead, one, under=under)
