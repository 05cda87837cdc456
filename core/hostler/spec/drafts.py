"""A stage while it is read: one table for each cell, with the valid keys of an invalid one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hostler.base.json_types import Json, JsonTable
from hostler.model.pipeline_file import StageTable
from hostler.model.pipelines import Scalar
from hostler.spec.expansion import Room
from hostler.spec.matrix import Cell, Glob, Lines
from hostler.spec.problems import Path, Problems


@dataclass(frozen=True, slots=True)
class Context:
    """Data that all stages of a file share while they are read."""

    params: Mapping[str, Scalar]
    defaults: JsonTable
    problems: Problems
    glob: Glob | None
    lines: Lines
    args: Sequence[str] = ()
    """The words of `{args}`."""
    literal: bool = False
    """Braces are text: there are no placeholders."""
    mounts: frozenset[str] | None = None
    """Allowed names in `mounts`; None: any."""
    hosts: tuple[str, ...] | None = None
    """The existing hosts; None: any."""
    holds: Callable[[str], bool] | None = None
    """Whether the source may have a file; None: the source is unknown."""
    room: Room = field(default_factory=Room)
    """How much all stages together may still take."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A stage's table once per cell. Cells whose tables are equal share one."""

    base: str
    cells: tuple[Cell, ...]
    tables: tuple[StageTable, ...]
    """Empty where the table is wrong."""
    has_matrix: bool
    own: frozenset[str]
    """Keys that the stage itself has, including those of `resources`."""
    rest: StageTable | None = None
    """The valid part of an invalid table: it is checked further, so that all problems are reported
    at once."""
    wrong: frozenset[str] = frozenset()
    """The keys that are not, or not completely, in `rest`."""
    places: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The index of each item of `rest` in a list of the file that also has invalid items."""

    @property
    def checked(self) -> tuple[StageTable, ...]:
        """The tables whose references and expressions are to be checked."""
        return self.tables or ((self.rest,) if self.rest is not None else ())

    def place(self, key: str, index: int) -> int:
        """The index in the file of an item of a list."""
        places = self.places.get(key)
        return index if places is None else places[index]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the cells."""
        if not self.has_matrix:
            return (self.base,)
        return tuple(f"{self.base}.{index}" for index in range(len(self.cells)))


def mended(table: JsonTable, path: Path, bad: frozenset[Path]) -> JsonTable:
    """The table without its invalid parts at any depth: an item of a list, a key of a table in
    it."""
    return {
        key: _mended(value, (*path, key), bad)
        for key, value in table.items()
        if (*path, key) not in bad and not _is_emptied(value, (*path, key), bad)
    }


def places_of(value: list[Json], path: Path, bad: frozenset[Path]) -> tuple[int, ...]:
    """Indices of the valid items of a list."""
    return tuple(index for index in range(len(value)) if (*path, index) not in bad)


def _mended(value: Json, path: Path, bad: frozenset[Path]) -> Json:
    if isinstance(value, dict):
        return mended(value, path, bad)
    if isinstance(value, list):
        return [_mended(value[index], (*path, index), bad) for index in places_of(value, path, bad)]
    return value


def _is_emptied(value: Json, path: Path, bad: frozenset[Path]) -> bool:
    return isinstance(value, list) and bool(value) and not places_of(value, path, bad)
