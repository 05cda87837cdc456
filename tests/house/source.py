"""The product's modules as syntax trees, and places in them."""

from __future__ import annotations

import ast
import gc
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

ROOTS = ("core", "tui", "agents")


@dataclass(frozen=True)
class Module:
    """One file of Python. `path` is relative to the repository, `name` what an import calls it."""

    path: str
    name: str
    text: str
    tree: ast.Module

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the tree."""
        return list(ast.walk(self.tree))

    @property
    def is_package(self) -> bool:
        """Whether this is the `__init__.py` of a package."""
        return self.path.endswith("/__init__.py")


@dataclass(frozen=True, order=True)
class Place:
    """A line of a file, and what stands there."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def read_module(path: str, text: str) -> Module:
    """A module of the product; the first folder of its path is on Python's path."""
    parts = list(PurePosixPath(path).with_suffix("").parts[1:])
    if parts[-1] == "__init__":
        parts.pop()
    return Module(path, ".".join(parts), text, ast.parse(text))


def read_modules(root: Path) -> list[Module]:
    """Every module of the product below the repository's root, sorted by path."""
    files = sorted(file for folder in ROOTS for file in (root / folder).rglob("*.py"))
    was_on = gc.isenabled()
    gc.disable()  # trees are millions of objects and no garbage: looking for some takes longer
    try:
        return [read_module(file.relative_to(root).as_posix(), file.read_text()) for file in files]
    finally:
        if was_on:
            gc.enable()


def place(module: Module, node: ast.expr | ast.stmt | ast.pattern) -> Place:
    """Where a node stands, with its source on one line."""
    words = " ".join(ast.unparse(node).split())
    return Place(module.path, node.lineno, words if len(words) <= 80 else words[:77] + "...")


def names_of(module: Module, wanted: str, homes: Collection[str]) -> set[str]:
    """What this module calls a name of one of the modules `homes`: {"Any", "typing.Any"}."""
    found = set()
    for node in module.nodes:
        if isinstance(node, ast.ImportFrom) and node.module in homes and not node.level:
            found |= {name.asname or name.name for name in node.names if name.name == wanted}
        elif isinstance(node, ast.Import):
            named = (name for name in node.names if name.name in homes)
            found |= {f"{name.asname or name.name}.{wanted}" for name in named}
    return found


def dotted(node: ast.AST) -> str | None:
    """`a.b.c` as text; None where it is more than names and dots."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = dotted(node.value)
        return None if left is None else f"{left}.{node.attr}"
    return None


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method, also those inside others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
