"""How much of what other users can make long goes into a look. A look always fits its line: what
is over is left out, and told in one sentence."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Set, Tuple

MAX_TEXT = 1000
"""Characters of a sentence of trouble."""
_MIB = 1024 * 1024


class Budget(NamedTuple):
    """Of one section: `wire.MAX_LINE` holds all of them together."""

    items: int
    size: int
    """Bytes as JSON."""


LEASES = Budget(2048, _MIB)
PROCESSES = Budget(2048, _MIB * 3 // 2)
FOREIGN = Budget(2048, _MIB)
WORK = Budget(4000, 3 * _MIB)


def size(item: Any) -> int:
    """Bytes of it on the line, with the comma that follows."""
    return len(json.dumps(item, separators=(",", ":"))) + 1


def within(
    items: Sequence[Dict[str, Any]],
    budget: Budget,
    first: Callable[[Dict[str, Any]], bool] = lambda item: False,
) -> Tuple[List[Dict[str, Any]], int]:
    """Those that fit the budget, in their order, and how many do not; those that come `first` are
    the last to be left out."""
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


def short(text: Any) -> Any:
    """A sentence of trouble, cut; None stays None."""
    return text[:MAX_TEXT] if isinstance(text, str) else text
