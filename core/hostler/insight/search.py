"""Search terms of the run history ("lr=0.1", "accuracy>=0.9") and its sort keys ("-val_acc"): the
columns that can be sorted by. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from hostler.base.errors import InputError
from hostler.base.terms import ORDERS, read_condition, read_number
from hostler.model.records import RunFilter

COLUMNS = (
    "submitted", "finished", "took", "pipeline", "owner", "state", "gpu_hours", "energy", "run",
)  # fmt: skip
"""Columns by which runs can be sorted, besides metrics and parameters."""
_NAME = re.compile(r"[^\"]+")


@dataclass(frozen=True, slots=True)
class Condition:
    """A parameter or metric compared with a value, which is a number if it can be read as one."""

    name: str
    operator: str
    value: str

    @property
    def number(self) -> float | None:
        """The value as a number; None if it is a word."""
        return read_number(self.value)


@dataclass(frozen=True, slots=True)
class Order:
    """The sort key: a column of the list, or the name of a metric or parameter; if both exist, the
    metric."""

    name: str = "submitted"
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Search:
    """Which runs, in which order; every field that is set must match."""

    runs: RunFilter = field(default_factory=RunFilter)
    params: tuple[Condition, ...] = ()
    metrics: tuple[Condition, ...] = ()
    text: str | None = None
    """Part of an id, name, title, owner, commit or parameter."""
    order: Order = field(default_factory=Order)


def read_conditions(texts: Iterable[str], *, numbers: bool) -> tuple[Condition, ...]:
    """Read conditions as people write them. Raises InputError; with `numbers` also for a word."""
    return tuple(_condition(text, numbers) for text in texts)


def read_order(text: str | None) -> Order:
    """Read an order: "-val_acc" means from the highest down; None: the newest first. Raises
    InputError."""
    if not text:
        return Order()
    name = text.removeprefix("-")
    if not _NAME.fullmatch(name):
        raise InputError(f"{text!r} is not a field to sort by", remedy="like -val_acc, or took")
    return Order(name, text.startswith("-"))


def _condition(text: str, numbers: bool) -> Condition:
    found = read_condition(text)
    if found is None:
        raise InputError(
            f"{text!r} has no operator",
            remedy="Write NAME OPERATOR VALUE, like lr=0.1 or accuracy>=0.9",
        )
    made = Condition(found.name, found.op, found.value)
    if (numbers or made.operator in ORDERS) and made.number is None:
        raise InputError(f"{text!r}: {made.value!r} is not a number")
    return made
