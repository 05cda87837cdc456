"""A number range in a matrix, `{ from = 0, to = 1, step = 0.1 }`: its values with exact decimal
steps, counted before any is made. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction

from hostler.model.matrix_tables import RangeTable
from hostler.model.pipeline_file import MAX_STAGES
from hostler.model.pipelines import Scalar

_LARGEST_TOLD = 10**12


@dataclass(frozen=True, slots=True)
class Steps(Collection[Scalar]):
    """The numbers of a range. Whole numbers if its first number and its step are whole, else the
    numbers nearest to the exact decimals: the fourth step of 0.1 is 0.4."""

    first: Fraction
    step: Fraction
    count: int
    are_whole: bool

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Scalar]:
        for index in range(self.count):
            value = self.first + index * self.step
            yield int(value) if self.are_whole else float(value)

    def __contains__(self, value: object) -> bool:
        return any(value == each for each in self)


def steps_of(table: RangeTable) -> Steps:
    """The numbers that a range means. Raises ValueError for a range without an end, without any
    number, or with more than a pipeline can have."""
    first, last, step = Fraction(table.first), Fraction(table.last), Fraction(table.step)
    if not step:
        raise ValueError("has a step of 0: it would never end")
    count = math.floor((last - first) / step) + 1
    if count < 1:
        way = "down: write a step below 0" if last < first else "up: write a step above 0"
        raise ValueError(
            f"is empty: its steps of {table.step} lead away from {table.last}; to count {way}"
        )
    if count > MAX_STAGES:
        raise ValueError(
            f"is {count_text(count)} values; a pipeline has at most {MAX_STAGES} stages"
        )
    are_whole = isinstance(table.first, int) and isinstance(table.step, int)
    return Steps(first, step, count, are_whole)


def count_text(count: int) -> str:
    """A number for people, even if it has thousands of digits."""
    return str(count) if count <= _LARGEST_TOLD else f"more than {_LARGEST_TOLD}"
