"""Collects several errors of one value, reported together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")
S = TypeVar("S")
Place = tuple[str | int, ...]


class Fault(NamedTuple):
    """One problem."""

    place: Place
    """The position in the value; () is the value itself."""
    message: str
    unknown_in: type | None = None
    """The last of `place` is a key that this table does not have."""


class Several(ValueError):
    """All problems of a value."""

    def __init__(self, found: Sequence[Fault]) -> None:
        super().__init__("; ".join(fault.message for fault in found))
        self.found = tuple(found)


def faults_of(error: ValueError, *place: str | int) -> list[Fault]:
    """The problems that a reader reported for the value at a position."""
    if isinstance(error, Several):
        return [fault._replace(place=(*place, *fault.place)) for fault in error.found]
    return [Fault(place, str(error))]


def read_all(items: Iterable[T], read: Callable[[T], S], place: Callable[[int], Place]) -> list[S]:
    """Each item as `read` gives it. Raises Several where it refuses any."""
    taken: list[S] = []
    found: list[Fault] = []
    for index, item in enumerate(items):
        try:
            taken.append(read(item))
        except ValueError as error:
            found += faults_of(error, *place(index))
    if found:
        raise Several(found)
    return taken


def of_all(_index: int) -> Place:
    """For items that identify themselves: a problem is reported for the whole value."""
    return ()


def of_list(index: int) -> Place:
    """For items of a list."""
    return (index,)
