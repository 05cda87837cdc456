"""Formats values for narrow cells of the screen: ages, percentages, GiB, bars, sparklines. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from hostler.base.units import GIB, format_age

BLOCKS = " ▁▂▃▄▅▆▇█"


def age_text(seconds: float | None) -> str:
    """ "1s", "3m04s"; "-" if there was never an answer."""
    return "-" if seconds is None else format_age(seconds)


def percent_text(value: float | None) -> str:
    """ "98%", "-" for None."""
    return "-" if value is None else f"{value:.0f}%"


def gib_text(size: int | None) -> str:
    """ "59.1", in GiB without the unit; "-" for None."""
    return "-" if size is None else f"{size / GIB:.1f}"


def bar(part: float | None, width: int) -> str:
    """ "####..." for a part of 0 to 1; dots only for None."""
    if part is None:
        return "." * width
    filled = round(max(0.0, min(1.0, part)) * width)
    return "#" * filled + "." * (width - filled)


def sparkline(
    values: Sequence[float | None], width: int, top: float | None = None, blocks: str = BLOCKS
) -> str:
    """The last values as one line of blocks, the newest at the right; a gap for None.

    `top` is the value of a full block; by default the largest value shown.
    """
    shown = squeeze(values, width)
    known = [value for value in shown if value is not None]
    full = top if top is not None else max(known, default=0.0)
    return "".join(_block(value, full, blocks) for value in shown).rjust(width)


def squeeze(values: Sequence[float | None], width: int) -> list[float | None]:
    """At most `width` values: neighbours are averaged; the mean ignores unknown values."""
    if len(values) <= width:
        return list(values)
    edges = [round(i * len(values) / width) for i in range(width + 1)]
    return [_mean(values[a:b]) for a, b in itertools.pairwise(edges)]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _block(value: float | None, full: float, blocks: str) -> str:
    if value is None:
        return " "
    if full <= 0:
        return blocks[1]
    steps = len(blocks) - 1
    return blocks[max(1, min(steps, round(value / full * steps)))]
