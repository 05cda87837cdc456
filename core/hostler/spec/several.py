"""More than one thing wrong with one value: all of them are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
S = TypeVar("S")
Place = tuple[int, ...]


class Several(ValueError):
    """What is wrong with a value, with the place in it of each: () is the value itself."""

    def __init__(self, found: Sequence[tuple[Place, str]]) -> None:
        super().__init__("; ".join(message for _, message in found))
        self.found = tuple(found)


def read_all(items: Iterable[T], read: Callable[[T], S], place: Callable[[int], Place]) -> list[S]:
    """Each item as `read` gives it. Raises Several where it refuses any."""
    taken: list[S] = []
    found: list[tuple[Place, str]] = []
    for index, item in enumerate(items):
        try:
            taken.append(read(item))
        except ValueError as error:
            found.append((place(index), str(error)))
    if found:
        raise Several(found)
    return taken


def of_all(_index: int) -> Place:
    """For items that say themselves which they are: the problem is told of the whole value."""
    return ()


def of_list(index: int) -> Place:
    """For items of a list."""
    return (index,)
