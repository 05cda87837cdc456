"""The language of `when` and `pass`: operators, functions (`min`, `mean`, `count` ...), limits of
length and depth, evaluated without `eval`.

Numbers, strings, booleans, comparisons (chains too), `and`/`or`/`not`, `+ - * /`, `in` a list, and
the functions `min`, `max`, `sum`, `mean`, `count`, `abs`. Names are plain (`accuracy`) or dotted
(`params.lr`, `matrix.shard`, `train.accuracy`); `metric("val/acc")` reaches a name that is neither.
A name that stands for several values (a metric of all cells of a stage) goes into a function first.
"""

from __future__ import annotations

import ast
import difflib
import functools
import math
import operator
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping

from hostler.base.errors import InputError

MAX_LENGTH = 1000
MAX_DEPTH = 40

Value = bool | float | str

_CALCULATE: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_EQUALITY = (ast.Eq, ast.NotEq)
_MEMBERSHIP = (ast.In, ast.NotIn)
_FUNCTIONS: dict[str, Callable[[list[float]], float]] = {
    "min": min,
    "max": max,
    "sum": sum,
    "mean": lambda values: sum(values) / len(values),
    "count": len,
    "abs": lambda values: abs(values[0]),
}
_WORDS = {"true": True, "false": False}


def evaluate(expression: str, names: Mapping[str, object], *, stage: str = "") -> Value:
    """The value of an expression.

    `names` holds values, lists of values, or a mapping of them under each first part of a dotted
    name. `stage` names the stage whose own metrics the plain names are, for messages.
    Raises InputError for a wrong expression, an unknown name, a value that is not a number (NaN)
    or kinds that cannot be compared.
    """
    problems = _problems(expression)
    if problems:
        raise InputError(f"{_quoted(expression)}: {problems[0]}")
    try:
        return _single(_Evaluation(names, stage).value(_parse(expression)))
    except ArithmeticError as error:
        raise InputError(f"{_quoted(expression)}: {error}") from error


def check(expression: str, known: Collection[str] | None = None) -> list[str]:
    """The problems of an expression before any value is known; an empty list if there are none.

    `known` lists the names it may use: whole names, `train.*` for any metric of a stage, `*` for
    any plain name. None: any name.
    """
    problems = list(_problems(expression))
    if not problems and known is not None:
        names = _names(_parse(expression))
        problems = [_unknown(name, known) for name in names if not _allowed(name, known)]
    return problems


def names_in(expression: str) -> list[str]:
    """The names an expression uses, in order, each once. Raises InputError if it is wrong."""
    return list(_names(_parse(expression)))


@functools.lru_cache(maxsize=1024)
def _problems(expression: str) -> tuple[str, ...]:
    try:
        return tuple(_unsupported(_parse(expression)))
    except InputError as error:
        return (error.message,)


@functools.lru_cache(maxsize=1024)
def _parse(expression: str) -> ast.expr:
    if len(expression) > MAX_LENGTH:
        raise InputError(f"is longer than {MAX_LENGTH} characters")
    if not expression.strip():
        raise InputError("is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's warnings on style do not help users here
            tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        detail = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InputError(f"is not an expression: {detail}") from error
    except (MemoryError, RecursionError) as error:
        raise InputError("is nested too deeply") from error
    if _depth(tree) > MAX_DEPTH:
        raise InputError("is nested too deeply")
    return tree


def _depth(tree: ast.AST) -> int:
    deepest, waiting = 0, [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting += [(child, depth + 1) for child in ast.iter_child_nodes(node)]
    return deepest


def _unsupported(node: ast.expr) -> Iterator[str]:
    """Describe every part that an expression may not have."""
    match node:
        case ast.Constant(value=bool() | int() | float() | str()) | ast.Name():
            return
        case ast.Attribute():
            if _dotted(node) is None:
                yield f"{_text(node)} is not a name"
        case ast.BoolOp(values=parts) | ast.List(elts=parts) | ast.Tuple(elts=parts):
            for part in parts:
                yield from _unsupported(part)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=operand):
            yield from _unsupported(operand)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), right=right):
            yield from _unsupported(left)
            yield from _unsupported(right)
        case ast.Compare():
            yield from _unsupported_comparison(node)
        case ast.Call():
            yield from _unsupported_call(node)
        case _:
            yield f"{_text(node)} cannot be used here"


def _unsupported_comparison(node: ast.Compare) -> Iterator[str]:
    yield from _unsupported(node.left)
    for kind, right in zip(node.ops, node.comparators, strict=True):
        yield from _unsupported(right)
        if isinstance(kind, _MEMBERSHIP):
            if not isinstance(right, (ast.List, ast.Tuple)):
                yield f"`in` needs a list, like [1, 2], not {_text(right)}"
        elif type(kind) not in _COMPARE:
            yield f"{_text(node)}: compare with ==, !=, <, <=, > or >="


def _unsupported_call(node: ast.Call) -> Iterator[str]:
    name = node.func.id if isinstance(node.func, ast.Name) else _text(node.func)
    if name == "metric":
        if node.keywords or len(node.args) != 1 or _quoted_name(node) is None:
            yield 'metric() takes one name in quotes, like metric("val/acc")'
        return
    if name not in _FUNCTIONS:
        yield f"unknown function {name!r}{_nearest(name, [*_FUNCTIONS, 'metric'])}"
        return
    if node.keywords or not node.args or (name == "abs" and len(node.args) != 1):
        yield f"{name}() takes {'one number' if name == 'abs' else 'one or more numbers'}"
    for argument in node.args:
        yield from _unsupported(argument)


class _Evaluation:
    """One walk over a checked expression. A list stands for the values of several cells."""

    def __init__(self, names: Mapping[str, object], stage: str) -> None:
        self._known = names
        self._stage = stage

    def value(self, node: ast.expr) -> Value | list[Value]:
        match node:
            case ast.Constant(value=value):
                return value  # type: ignore[return-value]  # checked before
            case ast.Name() | ast.Attribute():
                return self._lookup(_dotted(node) or "")
            case ast.BoolOp(op=op, values=parts):
                return self._bool_op(op, parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self._truth(operand)
            case ast.UnaryOp(op=op, operand=operand):
                number = self._number(operand)
                return -number if isinstance(op, ast.USub) else number
            case ast.BinOp(left=left, op=op, right=right):
                return float(_CALCULATE[type(op)](self._number(left), self._number(right)))
            case ast.Compare():
                return self._compare(node)
            case ast.Call():
                return self._call(node)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return [_single(self.value(part)) for part in parts]
            case _:
                raise InputError(f"{_text(node)} cannot be used here")

    def _bool_op(self, op: ast.boolop, parts: list[ast.expr]) -> bool:
        wanted = isinstance(op, ast.Or)
        for part in parts:
            if self._truth(part) is wanted:
                return wanted
        return not wanted

    def _truth(self, node: ast.expr) -> bool:
        return bool(_single(self.value(node)))

    def _number(self, node: ast.expr) -> float:
        value = _single(self.value(node))
        if isinstance(value, str):
            raise InputError(f"{_text(node)} is text, and a number is needed")
        return float(value)

    def _compare(self, node: ast.Compare) -> bool:
        left = _single(self.value(node.left))
        for kind, part in zip(node.ops, node.comparators, strict=True):
            right = self.value(part)
            if isinstance(kind, _MEMBERSHIP):
                members = right if isinstance(right, list) else [right]
                if any(_same(left, item) for item in members) is isinstance(kind, ast.NotIn):
                    return False
                continue
            single = _single(right)
            if not _compared(kind, left, single, node):
                return False
            left = single
        return True

    def _call(self, node: ast.Call) -> Value | list[Value]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "metric":
            return self._lookup(_quoted_name(node) or "")
        numbers: list[float] = []
        for argument in node.args:
            found = self.value(argument)
            for value in found if isinstance(found, list) else [found]:
                if isinstance(value, str):
                    raise InputError(f"{name}() needs numbers, and {_text(argument)} is text")
                numbers.append(float(value))
        if not numbers and name != "count":
            raise InputError(f"{_text(node)} has no values")
        return float(_FUNCTIONS[name](numbers))

    def _lookup(self, name: str) -> Value | list[Value]:
        found = _find(self._known, name)
        if found is None:
            if name in _WORDS:
                return _WORDS[name]
            raise InputError(self._missing(name))
        if isinstance(found, (list, tuple)):
            return [_checked(name, value) for value in found]
        return _checked(name, found)

    def _missing(self, name: str) -> str:
        first, _, rest = name.partition(".")
        if first in ("params", "matrix"):
            group = self._known.get(first)
            known = list(group) if isinstance(group, Mapping) else []
            what = "parameter" if first == "params" else "matrix key"
            return f'there is no {what} "{rest}"{_nearest(rest, known)}'
        if rest and isinstance(self._known.get(first), Mapping):
            return f'metric "{rest}" was not written by stage {first}'
        if rest:
            return f'"{name}" is not known: "{first}" is no stage that this one needs'
        by = f"stage {self._stage}" if self._stage else "the stage"
        plain = [key for key, value in self._known.items() if not isinstance(value, Mapping)]
        return f'metric "{name}" was not written by {by}{_nearest(name, plain)}'


def _find(names: Mapping[str, object], name: str) -> object:
    """The value of a name: of the whole name, or in the mapping under a part before one of its
    dots; None: unknown."""
    if name in names:
        return names[name]
    at = name.find(".")
    while at > 0:
        group = names.get(name[:at])
        if isinstance(group, Mapping) and name[at + 1 :] in group:
            found: object = group[name[at + 1 :]]
            return found
        at = name.find(".", at + 1)
    return None


def _checked(name: str, value: object) -> Value:
    if not isinstance(value, (bool, int, float, str)):
        raise InputError(f"{name} is not a value: add a metric or parameter, like {name}.loss")
    if isinstance(value, float) and math.isnan(value):
        raise InputError(f"{name} is not a number (NaN)")
    return value


def _single(value: Value | list[Value]) -> Value:
    if not isinstance(value, list):
        return value
    if len(value) == 1:
        return value[0]
    raise InputError(
        f"this has {len(value)} values, one for each cell: use min(), max(), mean() or sum()"
    )


def _compared(kind: ast.cmpop, left: Value, right: Value, node: ast.expr) -> bool:
    if isinstance(left, str) is not isinstance(right, str):
        raise InputError(f"{_text(node)} compares text with a number")
    if isinstance(kind, _EQUALITY):
        return _same(left, right) is isinstance(kind, ast.Eq)
    return _COMPARE[type(kind)](left, right)


def _same(left: Value, right: Value) -> bool:
    return isinstance(left, str) is isinstance(right, str) and left == right


def _dotted(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def _quoted_name(node: ast.Call) -> str | None:
    argument = node.args[0]
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return argument.value
    return None


def _names(tree: ast.expr) -> dict[str, None]:
    """Every name in use, in order. The words `true` and `false` count as values."""
    found: dict[str, None] = {}
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Name, ast.Attribute)):
            name = _dotted(node)
            if name is not None and name not in _WORDS:
                found[name] = None
            continue
        if isinstance(node, ast.Call):
            quoted = _quoted_name(node) if node.args and _text(node.func) == "metric" else None
            if quoted is not None:
                found[quoted] = None
            waiting += reversed(node.args)
            continue
        waiting += reversed(list(ast.iter_child_nodes(node)))
    return found


def _allowed(name: str, known: Collection[str]) -> bool:
    first, dot, _ = name.partition(".")
    return name in known or f"{first}.*" in known if dot else name in known or "*" in known


def _unknown(name: str, known: Collection[str]) -> str:
    exact = [item for item in known if not item.endswith("*")]
    groups = [item for item in known if item.endswith(".*")]
    near = _nearest(name, exact)
    if near:
        return f'unknown name "{name}"{near}'
    listed = ", ".join([*exact, *(f"{item[:-1]}METRIC" for item in groups)][:8])
    return f'unknown name "{name}"' + (f" (known: {listed})" if listed else "")


def _nearest(name: str, known: Collection[str]) -> str:
    if len(name) > 64:
        return ""
    near = difflib.get_close_matches(name, list(known)[:1000], 1)
    return f', did you mean "{near[0]}"?' if near else ""


def _text(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else text[:57] + "..."


def _quoted(expression: str) -> str:
    text = " ".join(expression.split())
    return f"`{text if len(text) <= 80 else text[:77] + '...'}`"
