"""How much the type checker is not told: `Any`, names that stand for it, `cast`, `type: ignore`,
`dict[str, object]`."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator

from tests.house.source import Module, Place, dotted, names_of, place

TYPING = ("typing", "typing_extensions")
LOOSE = ("dict", "Dict", "Mapping", "MutableMapping")
_IGNORE = re.compile(r"#\s*type:\s*ignore\b")


def anys(modules: Iterable[Module]) -> list[Place]:
    """Every use of `typing.Any`, under whatever name it was imported; in text, where text is a
    type, too. An import is no use."""
    return [found for module in modules for found in _uses(module, names_of(module, "Any", TYPING))]


def casts(modules: Iterable[Module]) -> list[Place]:
    """Every call of `typing.cast`."""
    found = []
    for module in modules:
        names = names_of(module, "cast", TYPING)
        for node in module.nodes:
            if isinstance(node, ast.Call) and dotted(node.func) in names:
                found.append(place(module, node))
    return found


def ignores(modules: Iterable[Module]) -> list[Place]:
    """Every comment `type: ignore`."""
    found = []
    for module in modules:
        if not _IGNORE.search(module.text):
            continue
        for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
            if token.type == tokenize.COMMENT and _IGNORE.search(token.string):
                found.append(Place(module.path, token.start[0], token.string))
    return found


def loose_dicts(modules: Iterable[Module]) -> list[Place]:
    """Every `dict[str, object]`, and `Mapping` and `MutableMapping` of the same."""
    found = []
    for module in modules:
        for node, line in _nodes(module):
            if isinstance(node, ast.Subscript) and _is_loose(node):
                found.append(Place(module.path, line, ast.unparse(node)))
    return found


def stand_ins(modules: Iterable[Module]) -> list[Place]:
    """Every use of a name that stands for a type with `Any` in it, wherever it was imported from:
    `Run = Mapping[str, Any]`, and then `Run`."""
    chosen = list(modules)
    named = {module.name: names_of(module, "Any", TYPING) for module in chosen}
    own: dict[str, set[str]] = {module.name: set() for module in chosen}
    grows = True
    while grows:
        grows = False
        for module in chosen:
            known = named[module.name] | own[module.name]
            new = _named_here(module, known) | _imported(module, own)
            if not new <= own[module.name]:
                own[module.name] |= new
                grows = True
    return [found for module in chosen for found in _uses(module, own[module.name])]


def _uses(module: Module, names: set[str]) -> Iterator[Place]:
    if not names:
        return
    for node, line in _nodes(module):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            name = dotted(node)
            if name in names:
                yield Place(module.path, line, name or "")


def _is_loose(node: ast.Subscript) -> bool:
    return (
        (dotted(node.value) or "").rpartition(".")[2] in LOOSE
        and isinstance(node.slice, ast.Tuple)
        and [dotted(part) for part in node.slice.elts] == ["str", "object"]
    )


def _named_here(module: Module, known: set[str]) -> set[str]:
    """Names at the top of the module for types in which one of `known` stands."""
    return {
        name
        for statement in module.tree.body
        for name, value in _alias(statement)
        if any(dotted(node) in known for node in ast.walk(value))
    }


def _alias(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """`Name = some[type]`, with or without TypeAlias, or `type Name = ...`."""
    value = getattr(statement, "value", None)
    if not isinstance(value, ast.Subscript | ast.BinOp | ast.Name | ast.Attribute):
        return
    targets = getattr(statement, "targets", None) or [
        getattr(statement, "target", None) or getattr(statement, "name", None)
    ]
    yield from ((target.id, value) for target in targets if isinstance(target, ast.Name))


def _imported(module: Module, own: dict[str, set[str]]) -> set[str]:
    """Names for `Any` that this module has from others, absolute imports only."""
    return {
        name.asname or name.name
        for node in module.nodes
        if isinstance(node, ast.ImportFrom)
        for name in node.names
        if name.name in own.get(node.module or "", ())
    }


def _nodes(module: Module) -> Iterator[tuple[ast.AST, int]]:
    """Every expression with its line, and those in texts that are types."""
    cast = names_of(module, "cast", TYPING)
    for node in module.nodes:
        if isinstance(node, ast.expr):
            yield node, node.lineno
        for text in _types_of(node, cast):
            yield from _quoted(text)


def _types_of(node: ast.AST, cast: set[str]) -> list[ast.expr]:
    """The expressions of a node that are types."""
    if isinstance(node, ast.arg | ast.AnnAssign):
        return [node.annotation] if node.annotation else []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.returns] if node.returns else []
    if isinstance(node, ast.Call) and dotted(node.func) in cast:
        return node.args[:1]
    return []


def _quoted(annotation: ast.expr) -> Iterator[tuple[ast.AST, int]]:
    for node in ast.walk(annotation):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                inner = ast.parse(node.value, mode="eval")
            except SyntaxError:
                continue
            yield from ((part, node.lineno) for part in ast.walk(inner))
