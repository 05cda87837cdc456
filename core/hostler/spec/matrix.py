"""Reads `matrix`: makes the cells of a stage from lists, ranges, globs and lines of files, and
leaves out repeated ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from hostler.base.json_types import Json, JsonTable
from hostler.base.readers import kind_of, read_identifier
from hostler.base.text import shown
from hostler.model.matrix_tables import GlobTable, LinesTable, RangeTable
from hostler.model.pipeline_file import MAX_STAGES
from hostler.model.pipelines import Scalar
from hostler.spec.expansion import Room
from hostler.spec.problems import Path, Problems, validate
from hostler.spec.ranges import count_text, steps_of

Cell = dict[str, Scalar]
Glob = Callable[[str], list[str]]
Lines = Mapping[str, Sequence[str]]
"""The lines of the files that matrices name."""
_FORMS = (
    """a list of values, { from = 0, to = 9 }, { glob = "data/*.csv" } or { lines = "a.txt" }"""
)


def read_matrix(
    value: Json, path: Path, problems: Problems, glob: Glob | None, lines: Lines, room: Room
) -> tuple[Cell, ...] | None:
    """The cells of a matrix in order, the last key changing fastest; None after noting problems.
    `room` counts them in both cases."""
    reader = _Reader(path, problems, glob, lines)
    if isinstance(value, dict):
        cells = reader.product(value)
    elif isinstance(value, list):
        cells = reader.listed(value)
    else:
        problems.add(path, f"should be a table of lists or a list of tables, is {kind_of(value)}")
        return None
    room.cells += len(cells)
    if problems.has(path) or not cells:
        return None
    return reader.without_repeats(cells)


class _Reader:
    def __init__(self, path: Path, problems: Problems, glob: Glob | None, lines: Lines) -> None:
        self._path = path
        self._problems = problems
        self._glob = glob
        self._lines = lines

    def product(self, table: JsonTable) -> list[Cell]:
        if not table:
            self._problems.add(self._path, "is an empty table")
            return []
        axes = {key: self._axis(key, value) for key, value in table.items()}
        if not self._fits(math.prod(len(values) for values in axes.values())):
            return []
        return [
            dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
        ]

    def listed(self, items: list[Json]) -> list[Cell]:
        if not items:
            self._problems.add(self._path, "is an empty list")
        if not self._fits(len(items)):
            return []
        return [self._cell(index, item, items[0]) for index, item in enumerate(items)]

    def without_repeats(self, cells: list[Cell]) -> tuple[Cell, ...] | None:
        seen: set[tuple[object, ...]] = set()
        for cell in cells:
            key = identity(cell.values())
            if key in seen:
                said = ", ".join(f"{name} = {value}" for name, value in cell.items())
                self._problems.add(self._path, f"has the same cell twice: {shown(said)}")
                return None
            seen.add(key)
        return tuple(cells)

    def _fits(self, count: int) -> bool:
        if count > MAX_STAGES:
            told = f"is {count_text(count)} cells; a pipeline has at most {MAX_STAGES}"
            self._problems.add(self._path, told)
        return count <= MAX_STAGES

    def _axis(self, key: str, value: Json) -> Collection[Scalar]:
        path = (*self._path, key)
        self._check_key(key, path)
        if isinstance(value, dict):
            return self._described(value, path)
        if not isinstance(value, list):
            self._problems.add(path, f"should be {_FORMS}, is {kind_of(value)}")
            return []
        if not value:
            self._problems.add(path, "is an empty list")
        return [self._scalar(item, (*path, index)) for index, item in enumerate(value)]

    def _described(self, table: JsonTable, path: Path) -> Collection[Scalar]:
        """The values that a table describes."""
        if "from" in table or "to" in table:
            return self._steps(table, path)
        if "lines" in table:
            return self._lines_of(table, path)
        if "glob" in table:
            return self._files(table, path)
        self._problems.add(path, f"should be {_FORMS}")
        return []

    def _steps(self, table: JsonTable, path: Path) -> Collection[Scalar]:
        read = validate(RangeTable, table, path, self._problems)
        if read is None:
            return []
        try:
            return steps_of(read)
        except ValueError as error:
            self._problems.add(path, str(error))
            return []

    def _lines_of(self, table: JsonTable, path: Path) -> Collection[Scalar]:
        read = validate(LinesTable, table, path, self._problems)
        if read is None:
            return []
        if read.lines not in self._lines:
            told = f"the lines of {shown(read.lines)} were not sent with the pipeline"
            self._problems.add(path, told, "name the file itself, without a placeholder")
            return []
        if not self._lines[read.lines]:
            self._problems.add(path, f"{shown(read.lines)} has no line that is not empty")
        return self._lines[read.lines]

    def _files(self, table: JsonTable, path: Path) -> Collection[Scalar]:
        read = validate(GlobTable, table, path, self._problems)
        if read is None:
            return []
        if self._glob is None:
            self._problems.add(path, "names files, and there is no source")
            return []
        found = sorted(self._glob(read.glob))
        if not found:
            self._problems.add(path, f"no file of the source matches {shown(read.glob)}")
        bad = next((name for name in found if not name.isprintable()), None)
        if bad is not None:
            self._problems.add(path, f"the name of file {shown(bad)} has a control character")
            return []
        return found

    def _cell(self, index: int, item: Json, first: Json) -> Cell:
        path = (*self._path, index)
        if not isinstance(item, dict) or not item:
            self._problems.add(path, f"should be a table of values, is {kind_of(item)}")
            return {}
        if isinstance(first, dict) and set(item) != set(first):
            wanted = ", ".join(first)
            self._problems.add(path, f"should have the keys of the first table: {shown(wanted)}")
        for key in item:
            self._check_key(key, (*path, key))
        return {key: self._scalar(value, (*path, key)) for key, value in item.items()}

    def _check_key(self, key: str, path: Path) -> None:
        try:
            read_identifier(key)
        except ValueError as error:
            self._problems.add(path, str(error))

    def _scalar(self, value: Json, path: Path) -> Scalar:
        if isinstance(value, (str, int, float)):
            return value
        self._problems.add(path, f"should be text, a number or true/false, is {kind_of(value)}")
        return ""


def identity(values: Iterable[Scalar]) -> tuple[object, ...]:
    """A key that is equal for equal cells: 1, 1.0 and true are three values."""
    return tuple((type(value), value) for value in values)


def paired(
    cells: tuple[Mapping[str, Scalar], ...], keys: tuple[str, ...]
) -> Mapping[object, list[int]]:
    """Indices of cells by their values of the given keys."""
    found: dict[object, list[int]] = {}
    for index, cell in enumerate(cells):
        found.setdefault(identity(cell[key] for key in keys), []).append(index)
    return found
