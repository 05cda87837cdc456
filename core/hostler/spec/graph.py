"""Dependencies between stages: `needs` and `inputs` resolved to cells, cycles refused, a million
dependencies at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hostler.base.text import shown
from hostler.model.pipelines import Scalar
from hostler.spec.matrix import identity, paired
from hostler.spec.problems import Path, Problems

MAX_EDGES = 1_000_000
"""Needs of all stages together; two stages of 1,000 cells, all to all, have a million."""
ENDED = "?"
"""After a need: it only has to end."""
_MAX_CYCLES = 5
_SHOWN_IN_CYCLE = 8


@dataclass(slots=True)
class Node:
    """A stage of the file, with its cells: none if its matrix is wrong. `outputs` is None if they
    are wrong."""

    base: str
    names: tuple[str, ...]
    cells: tuple[Mapping[str, Scalar], ...]
    has_matrix: bool
    outputs: frozenset[str] | None
    need_places: tuple[int, ...] | None = None
    """Indices of its needs in the file, if wrong ones were omitted."""
    needed: dict[str, None] = field(default_factory=dict)
    """Stages it needs, by base; filled by the linker."""

    @property
    def path(self) -> Path:
        """Its place in the file."""
        return ("stages", self.base)


@dataclass(frozen=True, slots=True)
class Links:
    """The dependencies of one cell, expanded."""

    needs: tuple[str, ...]
    inputs: Mapping[str, tuple[str, ...]]
    spread: frozenset[str] = frozenset()
    """Inputs that contain a folder for each cell."""
    image: str | None = None
    """The stage that builds its image."""
    needs_ended: frozenset[str] = frozenset()
    """Needs that only have to end. A need that is also named without `?`, or as an input, is
    excluded."""


UNLINKED = Links((), {})
"""For a cell without needs."""


class Linker:
    """Resolves references. Cells with equal dependencies share one value: there may be many
    cells."""

    def __init__(self, nodes: Mapping[str, Node], problems: Problems) -> None:
        self._nodes = nodes
        self._problems = problems
        self._pairs: dict[tuple[str, str], dict[object, list[int]]] = {}
        self._shared: dict[object, Links] = {}
        self._edges = 0

    def link(
        self,
        node: Node,
        index: int,
        needs: Sequence[str],
        inputs: Mapping[str, Sequence[str]],
        image: str | None = None,
    ) -> Links:
        """The dependencies of cell `index` of a stage; an input implies a need, and so does an
        `image` that a stage of the file builds."""
        paired_cells = any("@" in ref for ref in (*needs, image or "")) or any(
            "@" in ref for refs in inputs.values() for ref in refs
        )
        key = (
            node.base,
            index if paired_cells else None,
            tuple(needs),
            tuple((name, tuple(refs)) for name, refs in inputs.items()),
            image,
        )
        links = self._shared.get(key)
        if links is None:
            links = self._shared[key] = self._resolve(node, index, needs, inputs, image)
        self._edges += len(links.needs)
        if self._edges > MAX_EDGES:
            self._problems.add(
                (*node.path, "needs"),
                f"the stages have more than {MAX_EDGES} dependencies in total",
                "put a stage without a matrix between two large matrices",
            )
            return Links((), {})
        return links

    def _resolve(
        self,
        node: Node,
        index: int,
        needs: Sequence[str],
        inputs: Mapping[str, Sequence[str]],
        image: str | None,
    ) -> Links:
        found: dict[str, bool] = {}
        """Cell -> whether it has to succeed."""
        for number, ref in zip(node.need_places or range(len(needs)), needs, strict=True):
            name = ref.removesuffix(ENDED)
            base, _, selector = name.partition(".")
            for cell in self._cells(node, index, base, selector, (*node.path, "needs", number)):
                found[cell] = found.get(cell, False) or name == ref
        folders: dict[str, tuple[str, ...]] = {}
        spread = frozenset(name for name, refs in inputs.items() if self._is_spread(refs))
        for name, refs in inputs.items():
            path = (*node.path, "inputs", name)
            taken: dict[str, str] = {}
            for ref in refs:
                cells, output = self._input(node, index, ref, path)
                twice = next((cell for cell in cells if taken.get(cell, output) != output), None)
                if twice is not None:
                    self._problems.add(
                        path, f"takes two outputs of {twice}", "give each an input of its own"
                    )
                taken |= dict.fromkeys(cells, output)
            found |= dict.fromkeys(taken, True)
            folders[name] = tuple(f"{cell}.{output}" for cell, output in taken.items())
        built_by = self._builder(node, index, image) if image is not None else None
        if built_by is not None:
            found[built_by] = True
        ended = frozenset(cell for cell, has_to_succeed in found.items() if not has_to_succeed)
        return Links(tuple(found), folders, spread, built_by, ended)

    def _builder(self, node: Node, index: int, image: str) -> str | None:
        """The one cell that builds an image."""
        path, (base, _, selector) = (*node.path, "image"), image.partition(".")
        cells = self._cells(node, index, base, selector, path)
        if len(cells) > 1:
            self._problems.add(
                path,
                f"stage {base} builds {len(cells)} images",
                f"choose one: {base}.0, or {base}.@ (the cell with the same matrix values)",
            )
        return cells[0] if len(cells) == 1 else None

    def _is_spread(self, refs: Sequence[str]) -> bool:
        """Whether the input gets a folder per cell: this depends on the file, not on the present
        number of cells of a matrix."""
        if len(refs) > 1:
            return True
        parts = refs[0].split(".") if refs else []
        target = self._nodes.get(parts[0]) if parts else None
        chosen = parts[1] if len(parts) == 3 else "*"
        return target is not None and target.has_matrix and chosen in ("*", "@")

    def _input(self, node: Node, index: int, ref: str, path: Path) -> tuple[tuple[str, ...], str]:
        parts = ref.split(".")
        if len(parts) not in (2, 3):
            self._problems.add(
                path,
                f"{shown(ref)} is not an output of a stage",
                "write STAGE.OUTPUT, or of a matrix STAGE.*.OUTPUT, STAGE.0.OUTPUT, STAGE.@.OUTPUT",
            )
            return (), ""
        base, selector, output = parts[0], parts[1] if len(parts) == 3 else "", parts[-1]
        cells = self._cells(node, index, base, selector, path)
        target = self._nodes.get(base)
        if target is None or not cells:
            return (), ""
        if target.outputs is not None and output not in target.outputs:
            known = ", ".join(sorted(target.outputs)[:8]) or "none"
            self._problems.add(
                path,
                f"stage {base} has no output {shown(output)}",
                self._problems.guess(output, target.outputs) or f"its outputs: {known}",
            )
            return (), ""
        return cells, output

    def _cells(
        self, node: Node, index: int, base: str, selector: str, path: Path
    ) -> tuple[str, ...]:
        """The cells that a reference means, () after noting a problem."""
        if base == node.base:
            self._problems.add(path, f"stage {base} needs itself")
            return ()
        target = self._nodes.get(base)
        if target is None:
            hint = self._problems.guess(base, self._nodes)
            self._problems.add(path, f"there is no stage {shown(base)}", hint)
            return ()
        node.needed[base] = None
        if not target.cells or selector in ("", "*"):
            return target.names
        if not target.has_matrix:
            self._problems.add(path, f"stage {base} has no matrix, so it has no cells to choose")
            return ()
        if selector == "@":
            return self._paired(node, index, target, path)
        name = f"{base}.{selector}"
        if selector.isascii() and selector.isdecimal() and name in target.names:
            return (name,)
        last = len(target.names) - 1
        self._problems.add(
            path,
            f"stage {base} has no cell {shown(selector)}",
            f"its cells: {base}.0 to {base}.{last}; all of them: {base}",
        )
        return ()

    def _paired(self, node: Node, index: int, target: Node, path: Path) -> tuple[str, ...]:
        if not node.cells:
            return target.names
        mine = node.cells[index]
        theirs = target.cells[0]
        keys = tuple(key for key in mine if key in theirs)
        if not keys:
            self._problems.add(
                path,
                f"{target.base}.@ means the cells with the same matrix values, and "
                f"{node.base} and {target.base} have no matrix key in common",
            )
            return ()
        pair = (node.base, target.base)
        if pair not in self._pairs:
            self._pairs[pair] = dict(paired(target.cells, keys))
        found = self._pairs[pair].get(identity(mine[key] for key in keys), [])
        if not found:
            values = ", ".join(f"{key} = {mine[key]}" for key in keys)
            self._problems.add(path, f"stage {target.base} has no cell with {shown(values)}")
        return tuple(target.names[number] for number in found)


def note_cycles(nodes: Mapping[str, Node], problems: Problems) -> None:
    """Note the cycles among stages, by name.

    Every cell of a stage needs some cell of each stage that its base needs, so bases are enough.
    """
    edges = {base: [need for need in node.needed if need in nodes] for base, node in nodes.items()}
    for _ in range(_MAX_CYCLES):
        left = _unordered(edges)
        if not left:
            return
        cycle = _cycle(edges, left)
        steps = [*cycle[:_SHOWN_IN_CYCLE], cycle[0]]
        more = f" (and {len(cycle) - _SHOWN_IN_CYCLE} more)" if len(cycle) > _SHOWN_IN_CYCLE else ""
        said = " -> ".join(steps) + more
        problems.add(
            ("stages", cycle[0], "needs"), f"the needs of these stages form a cycle: {said}"
        )
        for base in cycle:
            edges[base] = []


def _unordered(edges: Mapping[str, Iterable[str]]) -> set[str]:
    """Stages that are in a cycle, or need a stage that is."""
    waiting_for = {base: len(list(needs)) for base, needs in edges.items()}
    needed_by: dict[str, list[str]] = {base: [] for base in edges}
    for base, needs in edges.items():
        for need in needs:
            needed_by[need].append(base)
    ready = deque(base for base, count in waiting_for.items() if count == 0)
    while ready:
        base = ready.popleft()
        del waiting_for[base]
        for after in needed_by[base]:
            waiting_for[after] -= 1
            if waiting_for[after] == 0:
                ready.append(after)
    return set(waiting_for)


def _cycle(edges: Mapping[str, Iterable[str]], left: set[str]) -> list[str]:
    """One cycle in the order of needs. Each remaining stage needs another remaining one."""
    order: dict[str, int] = {}
    base = next(name for name in edges if name in left)
    while base not in order:
        order[base] = len(order)
        base = next(need for need in edges[base] if need in left)
    return list(order)[order[base] :]
