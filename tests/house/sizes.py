"""How large files and functions are."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from tests.house.source import Module, Place, functions

SHORT = 40


@dataclass(frozen=True)
class Spread:
    """Median and largest of many numbers."""

    median: float
    largest: int


def spread(numbers: Iterable[int]) -> Spread:
    """Zeros where there is none."""
    chosen = list(numbers)
    return Spread(median(chosen), max(chosen)) if chosen else Spread(0, 0)


def statements(tree: ast.AST) -> int:
    """Statements below a node but docstrings. A compound one counts, and each inside it too."""
    below = sum(isinstance(node, ast.stmt) for node in ast.walk(tree))
    docstrings = sum(_has_docstring(node) for node in ast.walk(tree))
    return below - docstrings - isinstance(tree, ast.stmt)


def file_lines(modules: Iterable[Module]) -> list[Place]:
    """Every file with its number of lines, empty ones and comments too."""
    return [Place(module.path, 1, f"{_lines(module)} lines") for module in modules]


def short_files(modules: Iterable[Module]) -> list[Place]:
    """Files of fewer than SHORT lines, but empty ones."""
    return file_lines(module for module in modules if 0 < _lines(module) < SHORT)


def lengths_of_files(modules: Iterable[Module]) -> list[int]:
    """Lines of each file."""
    return [_lines(module) for module in modules]


def lengths_of_functions(modules: Iterable[Module]) -> list[int]:
    """Lines of each function, from `def` to its end."""
    return [(f.end_lineno or f.lineno) - f.lineno + 1 for m in modules for f in functions(m.tree)]


def statements_of_functions(modules: Iterable[Module]) -> list[int]:
    """Statements of each function."""
    return [statements(function) for module in modules for function in functions(module.tree)]


def _lines(module: Module) -> int:
    return len(module.text.splitlines())


def _has_docstring(node: ast.AST) -> bool:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None
