"""Import circles: sets of modules of which each leads to every other by imports.

An import inside a function counts like one at the top, and so does a module that is named to
`import_module` as plain text or by a constant. `from package import name` imports `package.name`
where that is a module, else `package`. Python also runs the `__init__.py` of every package above a
module; that does not count as an import.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tests.house.source import Module, Place, dotted

Graph = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Import:
    """One module imports another; `for_types` if only the type checker sees it."""

    importer: str
    imported: str
    place: Place
    for_types: bool


def imports_among(modules: Iterable[Module]) -> list[Import]:
    """The imports of these modules among each other."""
    chosen = list(modules)
    known = {module.name for module in chosen}
    return [found for module in chosen for found in _imports_of(module, known)]


def circles(imports: Iterable[Import]) -> list[list[str]]:
    """Each circle's modules, sorted."""
    edges = _graph(imports)
    reached = {name: _reached(name, edges) for name in edges}
    found = {frozenset(n for n in reached[name] if name in reached[n]) for name in edges}
    return sorted(sorted(circle) for circle in found if circle)


def inside(circle: Iterable[str], imports: Iterable[Import]) -> list[Place]:
    """Where the modules of one circle import each other."""
    members = set(circle)
    return [i.place for i in imports if i.importer in members and i.imported in members]


def _graph(imports: Iterable[Import]) -> Graph:
    edges: dict[str, set[str]] = {}
    for found in imports:
        edges.setdefault(found.importer, set()).add(found.imported)
        edges.setdefault(found.imported, set())
    return {name: frozenset(targets) for name, targets in edges.items()}


def _reached(start: str, edges: Graph) -> set[str]:
    """What can be reached by at least one import; the start itself only in a circle."""
    reached: set[str] = set()
    waiting = list(edges[start])
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += edges[name]
    return reached


def _imports_of(module: Module, known: set[str]) -> Iterator[Import]:
    unseen = {id(node) for node in _for_types(module.tree)}
    texts = _constants(module.tree)
    for node in module.nodes:
        if not isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
            continue
        for target in _targets(module, node, known, texts):
            if target != module.name:
                place = Place(module.path, node.lineno, f"imports {target}")
                yield Import(module.name, target, place, id(node) in unseen)


def _for_types(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node below `if TYPE_CHECKING:`; not those of its `else`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and _ends(node.test) == "TYPE_CHECKING":
            for statement in node.body:
                yield from ast.walk(statement)


def _constants(tree: ast.Module) -> dict[str, str]:
    """Texts that have a name in this module: {"SCREEN": "hostler_tui.app"}."""
    texts = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                    texts[target.id] = node.value.value
    return texts


def _targets(module: Module, node: ast.AST, known: set[str], texts: Mapping[str, str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [name.name for name in node.names if name.name in known]
    if isinstance(node, ast.ImportFrom):
        package = _package(module, node)
        named = {f"{package}.{name.name}" for name in node.names}
        both = {name if name in known else package for name in named}
        return sorted(both & known)
    if isinstance(node, ast.Call) and _ends(node.func) in ("import_module", "__import__"):
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Name):
            return [text for name, text in texts.items() if name == first.id and text in known]
        if isinstance(first, ast.Constant):
            return [name for name in known if name == first.value]
    return []


def _package(module: Module, node: ast.ImportFrom) -> str:
    """The module of a `from ... import`; a relative one counts its dots upwards."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    up = node.level - (1 if module.is_package else 0)
    parts = parts[: len(parts) - up]
    return ".".join([*parts, node.module] if node.module else parts)


def _ends(node: ast.AST) -> str:
    return (dotted(node) or "").rpartition(".")[2]
