"""How many leases, processes, other containers and workloads a look lists, and how long their texts
may be; the rest is left out and reported in one sentence. A look always fits its line, although
other users can lengthen these lists."""

from __future__ import annotations

import json
from typing import Callable, Generic, List, NamedTuple, Optional, Sequence, Set, Tuple, TypeVar

MAX_TEXT = 1000
"""The longest sentence of trouble, in characters."""
_MIB = 1024 * 1024
T = TypeVar("T")


class Budget(NamedTuple):
    """Limits of one section of a look. All sections together fit into `wire.MAX_LINE`."""

    items: int
    size: int
    """Bytes as JSON."""


LEASES = Budget(2048, _MIB)
PROCESSES = Budget(2048, _MIB * 3 // 2)
FOREIGN = Budget(2048, _MIB)
WORK = Budget(4000, 3 * _MIB)


def size(item: object) -> int:
    """Bytes of an item as JSON on the line, including the comma after it."""
    return len(json.dumps(item, separators=(",", ":"))) + 1


def within(
    items: Sequence[T], budget: Budget, first: Callable[[T], bool] = lambda item: False
) -> Tuple[List[T], int]:
    """Return the items that fit into the budget, in their order, and the number of other items.
    Items for which `first` is true are left out last."""
    if len(items) <= budget.items and sum(map(size, items)) <= budget.size:
        return list(items), 0
    order = sorted(range(len(items)), key=lambda at: not first(items[at]))
    used = 0
    kept: Set[int] = set()
    for at in order:
        used += size(items[at])
        if used > budget.size or len(kept) >= budget.items:
            break
        kept.add(at)
    return [items[at] for at in sorted(kept)], len(items) - len(kept)


class Shown(Generic[T]):
    """The items of one kind that fit into a look; the same list object while the items are
    equal."""

    def __init__(
        self, kind: str, budget: Budget, first: Callable[[T], bool] = lambda item: False
    ) -> None:
        self._kind, self._budget, self._first = kind, budget, first
        self._items: Optional[Sequence[T]] = None
        self._shown: List[T] = []
        self.left_out: Optional[str] = None
        """A sentence about the omitted items; None if all fit."""

    def of(self, items: Sequence[T]) -> List[T]:
        """Return the items that fit."""
        if self._items is None or (self._items is not items and self._items != items):
            self._shown, over = within(items, self._budget, self._first)
            told = "%d of %d %s are not shown" % (over, len(items), self._kind)
            self.left_out = told if over else None
            self._items = items
        return self._shown


def short(text: Optional[str]) -> Optional[str]:
    """Cut a sentence of trouble to its longest length; None stays None."""
    return text and text[:MAX_TEXT]
