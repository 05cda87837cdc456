"""What the filter of `/` matches: words and `field op value`, all of which must hold;
base/terms.py splits the text, each screen's rows have the fields. Pure.

a100 state=free            both words and fields; an unknown field is an error with its column
free>=2 age<10s            numbers, with units: 24GiB, 90s, 50%
owner=ana,bob model~a100   any of several; "contains" (a glob where it has a *)
state!=drained !sim        not
why="out of memory"        quoted where it has spaces
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hostler.base import terms
from hostler.base.terms import TermError

Value = str | float | int | bool | None | Sequence[str]
"""The value of a field: text, a number, several texts, or unknown."""


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: `field` is "" for a word that any text field may hold."""

    field: str
    op: str
    """ "=", "!=", "~", "!~", "<", "<=", ">" or ">="."""
    value: str
    number: float | None = None
    """The value as a number, for comparisons by size."""

    def holds(self, fields: Mapping[str, Value]) -> bool:
        """Whether a row with these fields matches; an unknown value matches no comparison by
        size."""
        if not self.field:
            found = any(_contains(text, self.value) for text in _all_texts(fields))
            return found is (self.op == "~")
        value = fields.get(self.field)
        if self.op in terms.ORDERS:
            known = isinstance(value, int | float) and self.number is not None
            return known and terms.ORDERS[self.op](float(value), self.number)  # type: ignore[arg-type]
        wanted = self.value.split(",") if "," in self.value else [self.value]
        test = _contains if self.op.endswith("~") else _equals
        found = any(test(text, one) for text in _texts(value) for one in wanted)
        return found is not self.op.startswith("!")


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter as typed, and its terms. The empty filter matches every row."""

    text: str = ""
    terms: tuple[Term, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)

    def holds(self, fields: Mapping[str, Value]) -> bool:
        """Whether a row with these fields is shown."""
        return all(term.holds(fields) for term in self.terms)


def parse(text: str, known: Sequence[str]) -> Filter:
    """A filter over these fields; a known field that ends in "." allows any name after it.

    Raises TermError.
    """
    found = tuple(_term(read, known) for read in terms.read_terms(text))
    return Filter(text.strip(), found)


def _term(read: terms.Term, known: Sequence[str]) -> Term:
    if not read.name:
        return Term("", read.op, read.value)
    field = read.name.lower()
    if not _is_known(field, known):
        fields = ", ".join(known)
        raise TermError(f"no field {field!r}; fields: {fields}", read.at + 1)
    value = terms.plain_value(read)
    number = terms.read_quantity(value) if read.op in terms.ORDERS else None
    if number is None and read.op in terms.ORDERS:
        column = read.value_at + 1
        raise TermError(f"{value!r} is not a number (write 2, 50%, 24GiB or 90s)", column)
    return Term(field, read.op, value, number)


def _is_known(field: str, known: Sequence[str]) -> bool:
    return any(field == one or (one.endswith(".") and field.startswith(one)) for one in known)


def _all_texts(fields: Mapping[str, Value]) -> Iterator[str]:
    for value in fields.values():
        if not isinstance(value, int | float):
            yield from _texts(value)


def _texts(value: Value) -> tuple[str, ...]:
    """The texts of a field for comparison; an unknown value is the empty text."""
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
