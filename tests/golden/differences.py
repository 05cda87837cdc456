"""What differs between two JSON values, as sentences that name the key. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

MISSING = "was removed"
ADDED = "was added"


def differences(golden: Any, now: Any, where: str = "$", grows: tuple[str, ...] = ()) -> list[str]:
    """One sentence for each key or value that is not as it was.

    Below a key of `grows` things may be added to what the golden value has: a list may have
    further items, an object further keys.
    """
    return list(_compare(golden, now, where, grows, may_grow=False))


def _compare(
    golden: Any, now: Any, where: str, grows: tuple[str, ...], *, may_grow: bool
) -> Iterator[str]:
    if isinstance(golden, Mapping) and isinstance(now, Mapping):
        yield from _objects(golden, now, where, grows, may_grow=may_grow)
    elif isinstance(golden, list) and isinstance(now, list):
        yield from _lists(golden, now, where, grows, may_grow=may_grow)
    elif type(golden) is not type(now) or golden != now:
        yield f"{where} changed from {_short(golden)} to {_short(now)}"


def _objects(
    golden: Mapping[str, Any],
    now: Mapping[str, Any],
    where: str,
    grows: tuple[str, ...],
    *,
    may_grow: bool,
) -> Iterator[str]:
    for key in golden.keys() | now.keys():
        inside = f"{where}.{key}"
        open_here = may_grow or key in grows
        if key not in now:
            yield f"{inside} {MISSING} (it was {_short(golden[key])})"
        elif key in golden:
            yield from _compare(golden[key], now[key], inside, grows, may_grow=open_here)
        elif not open_here:
            yield f"{inside} {ADDED}: {_short(now[key])}"


def _lists(
    golden: list[Any], now: list[Any], where: str, grows: tuple[str, ...], *, may_grow: bool
) -> Iterator[str]:
    if all(isinstance(item, str) for item in golden + now):
        yield from _words(golden, now, where, may_grow=may_grow)
        return
    if len(now) < len(golden) or (len(now) > len(golden) and not may_grow):
        yield f"{where} has {len(now)} items instead of {len(golden)}"
    for number, (before, after) in enumerate(zip(golden, now, strict=False)):
        yield from _compare(before, after, f"{where}[{number}]", grows, may_grow=may_grow)


def _words(golden: list[str], now: list[str], where: str, *, may_grow: bool) -> Iterator[str]:
    """Which words came or went, wherever they stand in the list."""
    gone, new = Counter(golden) - Counter(now), Counter(now) - Counter(golden)
    yield from (f"{where} {MISSING}: {_short(word)}" for word in gone.elements())
    if may_grow:
        return
    yield from (f"{where} {ADDED}: {_short(word)}" for word in new.elements())
    if not gone and not new and golden != now:
        yield f"{where} has another order: {_short(now)} instead of {_short(golden)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
