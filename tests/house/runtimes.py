"""Places that ask what a runtime is called, where they should ask what it can do.

A place is one of these, with one of the NAMES, a constant that stands for one (`DOCKER = "docker"`)
or a member of an enumeration of both names:
- a comparison of which it is a side, or an item of a side (`in ("docker", "process")`);
- a pattern of a `match` in which it stands;
- a table with both names as keys (`{"docker": ..., "process": ...}`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from tests.house.source import Module, Place, dotted, place

NAMES = frozenset({"docker", "process"})
ROOMS = ("decide", "daemon", "api", "client", "insight", "submit", "show")


def concerned(module: Module) -> bool:
    """Whether the module lies in a room that must not ask."""
    if module.path.startswith("tui/"):
        return True
    room = module.path.removeprefix("core/hostler/").split("/")[0].removesuffix(".py")
    return module.path.startswith("core/hostler/") and room in ROOMS


def questions(modules: Iterable[Module]) -> list[Place]:
    """Every place that asks."""
    chosen = list(modules)
    named = {name for module in chosen for name in _named(module)}
    return [
        place(module, node)
        for module in chosen
        if concerned(module)
        for node in module.nodes
        if isinstance(node, ast.expr | ast.pattern) and _asks(node, named)
    ]


def _asks(node: ast.expr | ast.pattern, named: set[str]) -> bool:
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        return any(_is_name(part, named) for side in sides for part in _items(side))
    if isinstance(node, ast.MatchValue):
        return _is_name(node.value, named)
    if isinstance(node, ast.Dict):
        return sum(_is_name(key, named) for key in node.keys if key) >= len(NAMES)
    return False


def _items(side: ast.expr) -> list[ast.expr]:
    return side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side]


def _is_name(node: ast.expr, named: set[str]) -> bool:
    if isinstance(node, ast.Constant):
        return node.value in NAMES
    if isinstance(node, ast.Name):
        return node.id in named
    name = dotted(node)
    if name is None:
        return False
    return name in named or ".".join(name.split(".")[-2:]) in named


def _named(module: Module) -> Iterator[str]:
    """What stands for a runtime's name: constants, and members of an enumeration of both."""
    for node in module.tree.body:
        yield from _constants(node)
        if isinstance(node, ast.ClassDef):
            members = [name for statement in node.body for name in _constants(statement)]
            values = {value for statement in node.body for value in _values(statement)}
            if values >= NAMES:
                yield from (f"{node.name}.{name}" for name in members)


def _constants(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign | ast.AnnAssign) and _values(node):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [target.id for target in targets if isinstance(target, ast.Name)]
    return []


def _values(node: ast.stmt) -> set[str]:
    value = getattr(node, "value", None)
    return {name for name in NAMES if isinstance(value, ast.Constant) and value.value == name}
