"""The filter of `/`: text, and `field op value`, all of which have to hold. Pure.

a100 state=free            both words and fields; an unknown field is an error with its column
free>=2 age<10s            numbers, with units: 24GiB, 90s, 50%
owner=ana,bob model~a100   any of several; "contains" (a glob where it has a *)
state!=drained !sim        not
why="out of memory"        quoted where it has spaces
"""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hostler.base.units import parse_duration, parse_size

Value = str | float | int | bool | None | Sequence[str]
"""Of a field: text, a number, several texts, or unknown."""

_ORDERS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_TERM = re.compile(
    r"""(?P<field>[A-Za-z_][\w.]*)\s*(?P<op>!=|!~|<=|>=|=|~|<|>)\s*(?P<value>"[^"]*"?|[^\s"]*)
      | (?P<no>!?)(?P<word>"[^"]*"?|[^\s"]+)""",
    re.VERBOSE,
)


class FilterError(ValueError):
    """What cannot be read, and at which column (from 1)."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.message, self.column = message, column

    def __str__(self) -> str:
        return f"column {self.column}: {self.message}"


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: `field` is "" for a word that any text field may hold."""

    field: str
    op: str
    """ "=", "!=", "~", "!~", "<", "<=", ">" or ">="."""
    value: str
    number: float | None = None
    """The value as a number, where the order is asked for."""

    def holds(self, fields: Mapping[str, Value]) -> bool:
        """Whether a row with these fields fulfils it; what is not known fulfils no order."""
        if not self.field:
            found = any(_contains(text, self.value) for text in _all_texts(fields))
            return found is (self.op == "~")
        value = fields.get(self.field)
        if self.op in _ORDERS:
            known = isinstance(value, int | float) and self.number is not None
            return known and _ORDERS[self.op](float(value), self.number)  # type: ignore[arg-type]
        wanted = self.value.split(",") if "," in self.value else [self.value]
        test = _contains if self.op.endswith("~") else _equals
        found = any(test(text, one) for text in _texts(value) for one in wanted)
        return found is not self.op.startswith("!")


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter as it was typed, and what it means. The empty one holds for everything."""

    text: str = ""
    terms: tuple[Term, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)

    def holds(self, fields: Mapping[str, Value]) -> bool:
        """Whether a row with these fields is shown."""
        return all(term.holds(fields) for term in self.terms)


def parse(text: str, known: Sequence[str]) -> Filter:
    """A filter over these fields; a known field that ends in "." allows any name after it.

    Raises FilterError.
    """
    return Filter(text.strip(), tuple(_terms(text, known)))


def _terms(text: str, known: Sequence[str]) -> Iterator[Term]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TERM.match(text, at)
        if match is None:
            raise FilterError("a field, or a word, has to stand here", at + 1)
        yield _term(match, known)
        at = match.end()


def _term(match: re.Match[str], known: Sequence[str]) -> Term:
    if match["field"] is None:
        word = _unquoted(match["word"], match.start("word"))
        return Term("", "!~" if match["no"] else "~", word)
    field, op = match["field"].lower(), match["op"]
    if not _is_known(field, known):
        fields = ", ".join(known)
        raise FilterError(f"no field {field!r}; fields: {fields}", match.start("field") + 1)
    column = match.start("value") + 1
    value = _unquoted(match["value"], match.start("value"))
    if not value:
        raise FilterError(f"{field}{op} wants a value", column)
    return Term(field, op, value, _number(value, column) if op in _ORDERS else None)


def _is_known(field: str, known: Sequence[str]) -> bool:
    return any(field == one or (one.endswith(".") and field.startswith(one)) for one in known)


def _unquoted(value: str, start: int) -> str:
    if not value.startswith('"'):
        return value
    if len(value) < 2 or not value.endswith('"'):
        raise FilterError("this quote is not closed", start + 1)
    return value[1:-1]


def _number(value: str, column: int) -> float:
    for read in (float, _percent, parse_size, parse_duration):
        try:
            return float(read(value))
        except ValueError:
            continue
    raise FilterError(f"{value!r} is no number (write 2, 50%, 24GiB or 90s)", column)


def _percent(value: str) -> float:
    if not value.endswith("%"):
        raise ValueError(value)
    return float(value[:-1])


def _all_texts(fields: Mapping[str, Value]) -> Iterator[str]:
    for value in fields.values():
        if not isinstance(value, int | float):
            yield from _texts(value)


def _texts(value: Value) -> tuple[str, ...]:
    """What a field may be compared with as text; an unknown one is the empty text."""
    if value is None or isinstance(value, str):
        return (value or "",)
    if isinstance(value, int | float):
        return (f"{value:g}",)
    return tuple(value) or ("",)


def _equals(text: str, wanted: str) -> bool:
    return text.lower() == wanted.lower()


def _contains(text: str, wanted: str) -> bool:
    lower, pattern = text.lower(), wanted.lower()
    return fnmatch.fnmatchcase(lower, pattern) if "*" in pattern else pattern in lower
