"""The measures that are taken by reading the source; `walk` has the one that runs it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tests.house import circles, runtimes, sizes, words
from tests.house.source import Module, Place

Find = Callable[[Sequence[Module]], list[Place]]
Count = Callable[[Sequence[Module]], float]


@dataclass(frozen=True)
class Measure:
    """One line of the table. `find` gives the places, `count` a number that has none.

    `wanted` is where the number must come to; one that is `held` must not grow until then.
    """

    name: str
    title: str
    find: Find | None = None
    count: Count | None = None
    wanted: float | None = None
    held: bool = False

    def value(self, modules: Sequence[Module]) -> float:
        """The present number."""
        if self.count:
            return self.count(modules)
        return len(self.find(modules)) if self.find else 0


def _files_with(word: str) -> Find:
    pattern = re.compile(rf"\b{word}\b")

    def first(module: Module) -> Iterator[Place]:
        for number, line in enumerate(module.text.splitlines(), 1):
            if pattern.search(line):
                yield Place(module.path, number, line.strip())
                return

    return lambda modules: [found for module in modules for found in first(module)]


def _above_client(modules: Sequence[Module]) -> list[Place]:
    return words.anys(m for m in modules if m.path.startswith(("tui/", "core/hostler/cli/")))


def _in_circles(modules: Sequence[Module], for_types: bool) -> list[Place]:
    """Where modules of a circle import each other."""
    imports = _imports(modules, for_types)
    rings = circles.circles(imports)
    return [
        Place(found.path, found.line, f"circle {number}: {found.what}")
        for number, ring in enumerate(rings, 1)
        for found in circles.inside(ring, imports)
    ]


def _imports(modules: Sequence[Module], for_types: bool) -> list[circles.Import]:
    return [i for i in _all_imports(tuple(modules)) if for_types or not i.for_types]


@lru_cache(maxsize=1)
def _all_imports(modules: tuple[Module, ...]) -> list[circles.Import]:
    return circles.imports_among(modules)


def _rings(for_types: bool) -> Count:
    return lambda modules: len(circles.circles(_imports(modules, for_types)))


def _members(for_types: bool) -> Count:
    return lambda modules: sum(map(len, circles.circles(_imports(modules, for_types))))


def _edges(for_types: bool) -> Find:
    return lambda modules: _in_circles(modules, for_types)


def _middle(lengths: Callable[[Sequence[Module]], list[int]]) -> Count:
    return lambda modules: sizes.spread(lengths(modules)).median


def _largest(lengths: Callable[[Sequence[Module]], list[int]]) -> Count:
    return lambda modules: sizes.spread(lengths(modules)).largest


def _statements(modules: Sequence[Module]) -> int:
    return sum(sizes.statements(module.tree) for module in modules)


_FILES, _FUNCTIONS = sizes.lengths_of_files, sizes.lengths_of_functions
_BODIES = sizes.statements_of_functions

MEASURES = (
    Measure("gpu_memory", "files that name gpu_memory", _files_with("gpu_memory"), wanted=8),
    Measure("runtime", "places that ask for a runtime's name", runtimes.questions, None, 0, True),
    Measure("any", "uses of Any", words.anys, None, 250, True),
    Measure("any_above_client", "  of these in tui and cli", _above_client, None, 0, True),
    Measure("any_names", "uses of a name for a type with Any", words.stand_ins, held=True),
    Measure("cast", "calls of cast", words.casts, held=True),
    Measure("ignore", "comments type: ignore", words.ignores, held=True),
    Measure("loose_dict", "dict[str, object] (or Mapping)", words.loose_dicts, held=True),
    Measure("circles", "import circles when it runs", _edges(False), _rings(False), 0, True),
    Measure("circle_members", "  modules in them", _edges(False), _members(False), 0, True),
    Measure("type_circles", "and with TYPE_CHECKING", _edges(True), _rings(True), 0, True),
    Measure("type_circle_members", "  modules in them", _edges(True), _members(True), 0, True),
    Measure("files", "files", count=len),
    Measure("statements", "statements", count=_statements),
    Measure("file_median", "lines a file, median", count=_middle(_FILES)),
    Measure("file_largest", "lines a file, largest", count=_largest(_FILES), wanted=400),
    Measure("function_median", "lines a function, median", count=_middle(_FUNCTIONS)),
    Measure("function_largest", "lines a function, largest", None, _largest(_FUNCTIONS), 60),
    Measure("body_median", "statements a function, median", count=_middle(_BODIES)),
    Measure("body_largest", "statements a function, largest", count=_largest(_BODIES)),
    Measure("short", f"files under {sizes.SHORT} lines, but empty ones", sizes.short_files),
)
"""In the order of the table."""
