"""Sparklines of `hostler usage`: the bar characters, gaps for missing values, means and
percentages; tui/format.py has the screen's. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_BARS = "▁▂▃▄▅▆▇█"

Values = Sequence[float | None]


def sparkline(values: Values, highest: float, width: int) -> str:
    """A bar a step, or of neighbours where there is no room; a gap where nothing is known."""
    columns = min(width, len(values))
    edges = [len(values) * i // columns for i in range(columns + 1)] if columns else []
    parts = [mean(values[a:b]) for a, b in pairwise(edges)]
    return "".join(" " if part is None else _bar(part / highest) for part in parts)


def _bar(share: float) -> str:
    return _BARS[max(0, min(len(_BARS) - 1, int(share * len(_BARS))))]


def mean(values: Values) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def highest(values: Values) -> float | None:
    """Of those that are known; None where none is."""
    return max((value for value in values if value is not None), default=None)


def number(value: float | None, unit: str = "") -> str:
    """ "97 %"; "-" where it is not known."""
    return "-" if value is None else f"{value:.0f}{unit}"
