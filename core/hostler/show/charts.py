"""Sparklines of `hostler usage`: the bar characters, gaps for missing values, means and
percentages; tui/format.py has the screen's. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_BARS = "▁▂▃▄▅▆▇█"

Values = Sequence[float | None]


def sparkline(values: Values, highest: float, width: int) -> str:
    """One bar per step, or per group of neighbours if space is short; a gap where the value is
    unknown."""
    columns = min(width, len(values))
    edges = [len(values) * i // columns for i in range(columns + 1)] if columns else []
    parts = [mean(values[a:b]) for a, b in pairwise(edges)]
    return "".join(" " if part is None else _bar(part / highest) for part in parts)


def _bar(share: float) -> str:
    return _BARS[max(0, min(len(_BARS) - 1, int(share * len(_BARS))))]


def mean(values: Values) -> float | None:
    """The mean of the known values; None if there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def highest(values: Values) -> float | None:
    """The highest known value; None if there is none."""
    return max((value for value in values if value is not None), default=None)


def number(value: float | None, unit: str = "") -> str:
    """ "97 %"; "-" if it is unknown."""
    return "-" if value is None else f"{value:.0f}{unit}"
