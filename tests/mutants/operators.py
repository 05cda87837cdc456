"""The small changes: which of cosmic-ray's operators are drawn from, and three more.

cosmic-ray turns every operator into every other. Here each has one or two opposites, so that a long
list of alternatives does not outweigh the rest. Its operators know no removed condition, no changed
return value and no `in`; those are below, with the same two methods.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Protocol

from cosmic_ray.ast import get_ast
from cosmic_ray.operators.provider import OperatorProvider

Node = Any
"""A node of parso's syntax tree: `type`, `children`, `parent`, `get_code()`."""
Position = tuple[int, int]
Span = tuple[Position, Position]


class Operator(Protocol):
    """What cosmic-ray asks of an operator."""

    def mutation_positions(self, node: Node) -> Iterator[Span]:
        """Where this node can be changed, once for each change."""

    def mutate(self, node: Node, index: int) -> Node:
        """Make the change with this index, and give the changed node."""


class _Replacing:
    """Puts a text in place of one child of a node."""

    def changes(self, node: Node) -> Iterator[tuple[int, str]]:
        """Index of a child, and the text that takes its place."""
        raise NotImplementedError

    def mutation_positions(self, node: Node) -> Iterator[Span]:
        """The children that a text can replace."""
        for child, _ in self.changes(node):
            yield node.children[child].start_pos, node.children[child].end_pos

    def mutate(self, node: Node, index: int) -> Node:
        """Replace one."""
        child, text = list(self.changes(node))[index]
        node.children[child] = get_ast(f" {text}")
        return node


class Condition(_Replacing):
    """A condition that always holds, never holds, or is negated. A loop only never runs."""

    def changes(self, node: Node) -> Iterator[tuple[int, str]]:
        """Conditions of `if`, `elif`, `while`, `x if y else z`, and of comprehensions."""
        for child in _conditions(node):
            code = node.children[child].get_code().strip()
            if node.type == "while_stmt":
                yield child, "False"
            else:
                yield from ((child, text) for text in ("True", "False", f"(not ({code}))"))


class Returned(_Replacing):
    """Another value of the type that a function says to return."""

    def changes(self, node: Node) -> Iterator[tuple[int, str]]:
        """An empty or zero value, or None; the negation where it is a bool."""
        if node.type != "return_stmt":
            return
        code = node.children[1].get_code().strip()
        other = _other(_returns(node), code)
        if code != other and code not in ("True", "False"):
            yield 1, other


class Membership(_Replacing):
    """`in` and `not in`."""

    def changes(self, node: Node) -> Iterator[tuple[int, str]]:
        """Each becomes the other."""
        if node.type == "comparison":
            for child in range(1, len(node.children), 2):
                words = " ".join(node.children[child].get_code().split())
                if words in ("in", "not in"):
                    yield child, "not in" if words == "in" else "in"


_EMPTY = {"str": '""', "bytes": 'b""', "int": "0", "float": "0.0", "None": "None"}
_EMPTY |= {"tuple": "()", "list": "[]", "dict": "{}", "Mapping": "{}", "Sequence": "()"}
_EMPTY |= {"frozenset": "frozenset()", "set": "set()", "Iterable": "()", "Iterator": "iter(())"}


def _conditions(node: Node) -> list[int]:
    if node.type in ("if_stmt", "while_stmt"):
        words = [getattr(child, "value", "") for child in node.children]
        return [at + 1 for at, word in enumerate(words) if word in ("if", "elif", "while")]
    if node.type == "comp_if":
        return [1]
    return [2] if node.type == "test" else []


def _returns(node: Node) -> str:
    while node is not None and node.type not in ("funcdef", "lambdef"):
        node = node.parent
    found = getattr(node, "annotation", None)
    return found.get_code().strip() if found else ""


def _other(annotation: str, code: str) -> str:
    if annotation == "bool":
        return f"not ({code})"
    if annotation.endswith("| None"):
        return "None"
    name = re.match(r"\w*", annotation)
    other = _EMPTY.get(name[0] if name else "", "None")
    return "None" if other == code else other


_TURNED = {
    "Binary": "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Mul Mod_Mul BitOr_BitAnd BitAnd_BitOr",
    "Comparison": "Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt"
    " Is_IsNot IsNot_Is",
    "Unary": "Delete_Not Delete_USub",
}
_OTHERS = (
    "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue",
    "NumberReplacer", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak",
)  # fmt: skip


def _chosen() -> Iterator[tuple[str, Operator]]:
    theirs = OperatorProvider()
    for kind, pairs in _TURNED.items():
        for pair in pairs.split():
            yield pair, theirs[f"Replace{kind}Operator_{pair}"]()
    for name in _OTHERS:
        yield name, theirs[name]()
    yield from (("Condition", Condition()), ("Returned", Returned()), ("Membership", Membership()))


OPERATORS: dict[str, Operator] = dict(_chosen())
"""Name -> operator."""
