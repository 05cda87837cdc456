"""Changes of a file of Python: where one is possible, which are drawn, and how it then reads.

Left out is what says nothing about behaviour: annotations, decorators, asserts, unions of types,
`strict=` of zip, blocks for the type checker, and texts.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from tests.mutants.operators import OPERATORS, Node, Span


@dataclass(frozen=True, order=True)
class Site:
    """A place of a file, and the changes that can be made there: operator, and its which use."""

    path: str
    span: Span
    uses: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Change:
    """One change. `before` and `after` are the lines that differ, without indentation."""

    path: str
    line: int
    operator: str
    before: str
    after: str
    text: str
    """The whole file with the change."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is called in equivalent.toml; line numbers move."""
        return self.path, self.before, self.after


def sites(path: str, text: str) -> list[Site]:
    """Every place that can be changed."""
    tree = get_ast(text)
    barred = [(node.start_pos, node.end_pos) for node in _barred(tree)]
    found: dict[Span, list[tuple[str, int]]] = {}
    for name, operator in OPERATORS.items():
        spans = [span for node in ast_nodes(tree) for span in operator.mutation_positions(node)]
        for use, span in enumerate(spans):
            if not any(start <= span[0] and span[1] <= end for start, end in barred):
                found.setdefault(span, []).append((name, use))
    return sorted(Site(path, span, tuple(uses)) for span, uses in found.items())


def draw(
    texts: Mapping[str, str], number: int, seed: int, known: Collection[tuple[str, str, str]] = ()
) -> list[Change]:
    """That many changes at different places of these files, none of them `known`. The same seed
    and files give the same changes."""
    chance = random.Random(seed)
    places = [site for path in sorted(texts) for site in sites(path, texts[path])]
    chance.shuffle(places)
    drawn: list[Change] = []
    for place in places:
        if len(drawn) == number:
            break
        made = make(place, chance.choice(place.uses), texts[place.path])
        if made.key not in known and _compiles(made):
            drawn.append(made)
    return drawn


def make(site: Site, use: tuple[str, int], text: str) -> Change:
    """Carry out one of a site's changes."""
    changed = mutate_code(text, OPERATORS[use[0]], use[1])
    before, after = _difference(text, changed)
    return Change(site.path, site.span[0][0], use[0], before, after, changed)


def _difference(text: str, changed: str) -> tuple[str, str]:
    lines = list(difflib.unified_diff(text.splitlines(), changed.splitlines(), n=0, lineterm=""))
    sides = ([line[1:].strip() for line in lines[2:] if line[0] == sign] for sign in "-+")
    before, after = ("\n".join(side) for side in sides)
    return before, after


def _compiles(change: Change) -> bool:
    try:
        compile(change.text, change.path, "exec")
    except SyntaxError:
        return False
    return True


_STARRED = ("parameters", "param", "lambdef", "argument", "star_expr", "arglist")
"""Where `*` does not multiply."""


def _barred(tree: Node) -> Iterator[Node]:
    for node in ast_nodes(tree):
        if node.type in ("decorator", "assert_stmt", "type_stmt"):
            yield node
        elif node.type == "annassign":
            yield node.children[1]
        elif node.type == "operator" and node.parent.type in _STARRED:
            yield node
        elif node.type == "tfpdef":
            yield node.children[2]
        elif node.type == "funcdef" and node.annotation:
            yield node.annotation
        elif _is_for_types(node):
            yield node


def _is_for_types(node: Node) -> bool:
    """Whether it is for the type checker: a union outside functions, TYPE_CHECKING, strict=."""
    if node.type == "if_stmt":
        return "TYPE_CHECKING" in node.children[1].get_code()
    if node.type == "argument":
        return getattr(node.children[0], "value", "") == "strict"
    return node.type == "expr" and not _is_in_function(node)


def _is_in_function(node: Node) -> bool:
    while node is not None and node.type != "funcdef":
        node = node.parent
    return node is not None
