"""Fuzzy search of the command palette: how texts are scored by a few letters in order, and how
many are listed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def score(query: str, text: str) -> float | None:
    """How well `text` contains the letters of `query` in their order; None: it does not.

    Adjacent letters and letters at the start of words score higher; late letters and long texts
    score lower.
    """
    wanted, inside = query.lower().replace(" ", ""), text.lower()
    if not wanted:
        return 0.0
    whole = inside.find(wanted)
    if whole >= 0:
        return (
            100.0 + (20.0 if _begins_word(inside, whole) else 0.0) - whole * 0.5 - len(text) / 100
        )
    total, at, before = 0.0, -1, -2
    for char in wanted:
        at = inside.find(char, at + 1)
        if at < 0:
            return None
        total += 3.0 if at == before + 1 else 2.0 if _begins_word(inside, at) else 0.0
        before = at
    return total - at * 0.1 - len(text) / 100


def _begins_word(text: str, at: int) -> bool:
    return at == 0 or not text[at - 1].isalnum()


def best(items: Iterable[T], value: Callable[[T], float | None], limit: int = 200) -> Sequence[T]:
    """The items with a score, the best first; equal items in their order."""
    found = [(worth, item) for item in items if (worth := value(item)) is not None]
    return [item for _, item in sorted(found, key=lambda pair: -pair[0])[:limit]]
