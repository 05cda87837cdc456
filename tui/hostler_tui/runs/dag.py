"""Draws the graph of a run's stages, as rails like `git log --graph` or as boxes: line
characters, how many lanes, sizes of boxes. Pure.

The graph is that of the file: the cells of a matrix are rows under its name, so that 10 x 100 of
them add no edges.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hostler.base.table import cell_width, cut, pad
from hostler.base.text import clean
from hostler.model.views.runs import StageView
from hostler.show.fold import Cells, base_of, fold
from hostler_tui.lines import Line

Needs = Mapping[str, Sequence[str]]
"""A stage of the file -> the stages that it needs."""

UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8
_CHARS = {
    0: " ", UP: "╵", DOWN: "╷", UP | DOWN: "│", LEFT: "─", RIGHT: "─", LEFT | RIGHT: "─",
    UP | LEFT: "╯", UP | RIGHT: "╰", DOWN | LEFT: "╮", DOWN | RIGHT: "╭",
    UP | DOWN | LEFT: "┤", UP | DOWN | RIGHT: "├", UP | LEFT | RIGHT: "┴",
    DOWN | LEFT | RIGHT: "┬", UP | DOWN | LEFT | RIGHT: "┼",
}  # fmt: skip

MOST_LANES = 8
"""With more parallel edges than this, lines are useless: only the order is shown."""

_HEIGHT = 4
_MOST_WIDE = 30


def line_char(sides: int) -> str:
    """The character that joins these directions."""
    return _CHARS[sides]


@dataclass(frozen=True, slots=True)
class Rail:
    """One stage of the file, with the lines around it."""

    key: str
    at: str
    """Before its name: "│ o "."""
    under: str
    """Before further rows of the stage: "│ │ "."""
    links: str
    """The row after it, if edges fork or meet: "├─╯"; else ""."""


@dataclass(frozen=True, slots=True)
class DagRow:
    """One row. `stage` is None for lines alone and for the head of a matrix."""

    key: str
    """Of the stage, of the matrix ("train/") or of alike cells ("train/waiting"); "" for lines."""
    lead: str
    stage: StageView | Cells | None = None
    cells: tuple[StageView, ...] = ()
    """For the head of a matrix: all its cells."""
    under: str = ""
    """Lines before further rows of the stage."""


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
    """The edges without those that follow from others: a need of a needed stage."""
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
    """The column of a stage: where its edges arrive, else the first free lane."""
    if key not in lanes:
        free = lanes.index(None) if None in lanes else len(lanes)
        lanes[free : free + 1] = [key]
    return lanes.index(key)


def _branch(lanes: list[str | None], column: int, users: Sequence[str]) -> list[int]:
    """Lead lanes from a stage to those that need it; the columns of the edges."""
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
    """A row of lines from a stage's column to others. A lane that only passes is not
    interrupted."""
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


@dataclass(frozen=True, slots=True)
class Box:
    """The text of a box: name and status in one line, one more line below."""

    title: str
    status: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A stage in its layer; with `goal` where an edge to that stage only passes the layer."""

    key: str
    layer: int
    goal: str = ""

    @property
    def tall(self) -> int:
        return 1 if self.goal else _HEIGHT


@dataclass(frozen=True, slots=True)
class _Spot:
    x: int
    y: int
    wide: int
    line: int
    """The row of its edges."""


_Segments = Mapping[_Place, Sequence[_Place]]
_Sides = dict[tuple[int, int], int]


def box_lines(needs: Needs, boxes: Mapping[str, Box], width: int) -> list[Line] | None:
    """The picture; None if it is wider than `width`."""
    layers, segments = _layered(direct(needs))
    spots = _spots(layers, segments, boxes)
    if any(spot.x + spot.wide > width for spot in spots.values()):
        return None
    sides: _Sides = {}
    for places in layers:
        _route(places, segments, spots, sides)
    return _paint(spots, boxes, sides)


def _layered(edges: Mapping[str, Sequence[str]]) -> tuple[list[list[_Place]], _Segments]:
    """Each stage as far left as what it needs allows; edges cut into steps of one layer."""
    depth: dict[str, int] = {}
    for key in ordered(edges):
        depth[key] = 1 + max((depth[one] for one in edges[key]), default=-1)
    layers: list[list[_Place]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    segments: dict[_Place, list[_Place]] = {}
    for key in edges:
        layers[depth[key]].append(_Place(key, depth[key]))
    for one, key in ((one, key) for key, of in edges.items() for one in of):
        chain = [_Place(one, depth[one])]
        for layer in range(depth[one] + 1, depth[key]):
            chain.append(_Place(one, layer, key))
            layers[layer].append(chain[-1])
        for here, there in itertools.pairwise([*chain, _Place(key, depth[key])]):
            segments.setdefault(here, []).append(there)
    return layers, segments


def _spots(
    layers: Sequence[Sequence[_Place]], segments: _Segments, boxes: Mapping[str, Box]
) -> dict[_Place, _Spot]:
    """Layers side by side, each vertically centred."""
    spots: dict[_Place, _Spot] = {}
    most = max((sum(place.tall for place in places) for places in layers), default=0)
    x = 1
    for places in layers:
        wide = max(_wide(boxes[place.key]) for place in places if not place.goal)
        y = (most - sum(place.tall for place in places)) // 2
        for place in places:
            spots[place] = _Spot(x, y, wide, y if place.goal else y + 1)
            y += place.tall
        x += wide + 3 + 2 * sum(1 for place in places if place in segments)
    return spots


def _wide(box: Box) -> int:
    first = cell_width(clean(box.title)) + cell_width(box.status) + 5
    return min(_MOST_WIDE, max(first, cell_width(clean(box.detail)) + 4))


def _route(
    places: Sequence[_Place], segments: _Segments, spots: Mapping[_Place, _Spot], sides: _Sides
) -> None:
    """Lines from a layer to the next: each place has its own column for the turn."""
    for number, place in enumerate(p for p in places if p in segments):
        spot = spots[place]
        begin = spot.x if place.goal else spot.x + spot.wide
        turn = spot.x + spot.wide + 1 + 2 * number
        for goal in segments[place]:
            end = spots[goal]
            _across(sides, spot.line, begin, turn)
            _down(sides, turn, spot.line, end.line)
            _across(sides, end.line, turn, end.x - 1 + (1 if goal.goal else 0))


def _across(sides: _Sides, y: int, left: int, right: int) -> None:
    for x in range(left, right):
        sides[x, y] = sides.get((x, y), 0) | RIGHT
        sides[x + 1, y] = sides.get((x + 1, y), 0) | LEFT


def _down(sides: _Sides, x: int, first: int, last: int) -> None:
    for y in range(min(first, last), max(first, last)):
        sides[x, y] = sides.get((x, y), 0) | DOWN
        sides[x, y + 1] = sides.get((x, y + 1), 0) | UP


def _paint(spots: Mapping[_Place, _Spot], boxes: Mapping[str, Box], sides: _Sides) -> list[Line]:
    height = max((spot.y + place.tall for place, spot in spots.items()), default=0)
    pieces: list[dict[int, tuple[str, str]]] = [{} for _ in range(height)]
    for (x, y), side in sides.items():
        pieces[y][x] = (line_char(side), "dim")
    for place, spot in spots.items():
        if not place.goal:
            for row, spans in enumerate(_box(boxes[place.key], spot.wide)):
                x = spot.x
                for text, role in spans:
                    pieces[spot.y + row][x] = (text, role)
                    x += cell_width(text)
    return [_line(row) for row in pieces]


def _box(box: Box, wide: int) -> list[Line]:
    room = wide - 4
    title = cut(clean(box.title), max(1, room - cell_width(box.status) - 1))
    gap = " " * (room - cell_width(title) - cell_width(box.status))
    return [
        (("┌" + "─" * (wide - 2) + "┐", "dim"),),
        (("│ ", "dim"), (title + gap, ""), (cut(box.status, room), box.status), (" │", "dim")),
        (("│ ", "dim"), (pad(cut(clean(box.detail), room), room), "dim"), (" │", "dim")),
        (("└" + "─" * (wide - 2) + "┘", "dim"),),
    ]


def _line(pieces: Mapping[int, tuple[str, str]]) -> Line:
    spans: list[tuple[str, str]] = []
    at = 0
    for x, (text, role) in sorted(pieces.items()):
        if x < at:
            continue
        if x > at:
            spans.append((" " * (x - at), ""))
        spans.append((text, role))
        at = x + cell_width(text)
    return tuple(spans)
