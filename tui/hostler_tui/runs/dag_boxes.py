"""A graph of stages as boxes from left to right, where a screen is wide enough. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hostler.base.table import cell_width, cut, pad
from hostler.base.text import clean
from hostler_tui.lines import Line
from hostler_tui.runs.dag import DOWN, LEFT, RIGHT, UP, Needs, direct, line_char, ordered

_HEIGHT = 4
_MOST_WIDE = 30


@dataclass(frozen=True, slots=True)
class Box:
    """What a box says: name and status in a line, one more below."""

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
    """The row at which edges come and go."""


_Segments = Mapping[_Place, Sequence[_Place]]
_Sides = dict[tuple[int, int], int]


def box_lines(needs: Needs, boxes: Mapping[str, Box], width: int) -> list[Line] | None:
    """The picture; None where it is wider than `width`."""
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
    """Layers side by side, each in the middle of the height."""
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
    """Lines from a layer to the next: each place has a column of its own to turn in."""
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
