"""Parses filter terms, `name op value`, as people type them to filter the screen and to search the
history. Pure.

lr=0.1 val/acc>=0.9        a condition by itself: its name may hold any sign but an operator's
state=free free>=2         several terms in a row, of plain names; words stand between them
why="out of memory"        quoted where it has spaces
age<10s memory>24GiB       numbers with units, where terms are compared by size
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from hostler.base.units import parse_duration, parse_size

ORDERS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
"""Operators that compare only numbers."""
COMPARISONS = ("<=", ">=", "!=", "<", ">", "=")
"""Longer operators come first."""
OPERATORS = ("!~", *COMPARISONS, "~")
"""With "contains"."""


class Term(NamedTuple):
    """One `name op value`; a word alone has no name and is contained ("~") or not ("!~")."""

    name: str
    op: str
    value: str
    at: int = 0
    """Where the name or word begins in the text."""
    value_at: int = 0


class TermError(ValueError):
    """A text that cannot be read, and the column of the problem (from 1)."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.message, self.column = message, column

    def __str__(self) -> str:
        return f"column {self.column}: {self.message}"


def _pattern(name: str, operators: tuple[str, ...], value: str) -> str:
    return rf"(?P<name>{name})\s*(?P<op>{'|'.join(operators)})\s*(?P<value>{value})"


_CONDITION = re.compile(_pattern(r'[^<>=!"]+?', COMPARISONS, ".*"), re.DOTALL)
_QUOTED = r'"[^"]*"?'
_TERM = re.compile(
    _pattern(r"[A-Za-z_][\w.]*", OPERATORS, rf'{_QUOTED}|[^\s"]*')
    + rf'|(?P<no>!?)(?P<word>{_QUOTED}|[^\s"]+)'
)


def read_condition(text: str) -> Term | None:
    """The only term of a text, whose value is all text after the operator; None: it is not a
    term."""
    found = _CONDITION.fullmatch(text.strip())
    return found and Term(found["name"], found["op"], found["value"])


def read_terms(text: str) -> Iterator[Term]:
    """The terms and words of a text. Raises TermError."""
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TERM.match(text, at)
        if match is None:
            raise TermError("a field or a word is missing here", at + 1)
        yield _term(match)
        at = match.end()


def _term(match: re.Match[str]) -> Term:
    if match["name"] is None:
        start = match.start("word")
        return Term("", "!~" if match["no"] else "~", _unquoted(match["word"], start), start, start)
    start = match.start("value")
    return Term(match["name"], match["op"], match["value"], match.start("name"), start)


def _unquoted(value: str, start: int) -> str:
    if not value.startswith('"'):
        return value
    if len(value) < 2 or not value.endswith('"'):
        raise TermError("this quote is not closed", start + 1)
    return value[1:-1]


def plain_value(term: Term) -> str:
    """Its value without quotes. Raises TermError for an empty value or an open quote."""
    value = _unquoted(term.value, term.value_at)
    if not value:
        raise TermError(f"{term.name.lower()}{term.op} needs a value", term.value_at + 1)
    return value


def read_number(text: str) -> float | None:
    """A number without a unit; None: it is not a number (nor is NaN)."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number else None


def read_quantity(text: str) -> float | None:
    """A number that may have a unit: 2, 50%, 24GiB, 90s; None: it is not a number."""
    for read in (float, _percent, parse_size, parse_duration):
        try:
            return float(read(text))
        except ValueError:
            continue
    return None


def _percent(text: str) -> float:
    if not text.endswith("%"):
        raise ValueError(text)
    return float(text[:-1])
