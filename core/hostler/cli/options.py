"""Reads the values of options (sizes, durations, counts, dates, arrays, RUN/STAGE), with their
limits: largest --limit, --minutes and --array, least --interval."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import NamedTuple

from hostler.base.dates import future_time, past_time
from hostler.base.units import parse_duration, parse_size

_BARE = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")
_ARRAY_PART = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18})(?::([0-9]{1,18}))?)?", re.ASCII)
_MOST_CELLS = 10_000
"""Stages of a run."""
LEAST_INTERVAL = 0.5
"""Seconds."""
MOST_AT_ONCE = 10_000
MOST_MINUTES = 1440
_TOO_MANY_DIGITS = 16
"""The same limit as in the API; checked here, too, so that the message names the flag."""


class Array(NamedTuple):
    """The cells of `--array`."""

    numbers: tuple[int, ...]
    max_parallel: int | None


def size(text: str) -> int:
    """Bytes: "24GiB"."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def size_text(text: str) -> str:
    """A size that the daemon reads; checked here, so that the message names the flag."""
    size(text)
    return text


def duration(text: str) -> float:
    """Seconds: "90s", "2h30m". A bare number other than 0 is refused: users often mean minutes."""
    if text == "0":
        return 0.0
    if _BARE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text} has no unit: write {text}s, {text}m or {text}h")
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def patience(text: str) -> float:
    """Seconds that an answer may take; more than zero."""
    seconds = duration(text)
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration: write it like 5s")
    return seconds


def interval(text: str) -> float:
    """Seconds between looks; the minimum keeps the load low."""
    seconds = duration(text)
    if seconds < LEAST_INTERVAL:
        raise argparse.ArgumentTypeError(f"{text!r} is too short: at least {LEAST_INTERVAL:g}s")
    return seconds


def duration_text(text: str) -> str:
    """A duration that the daemon reads; checked here, so that the message names the flag."""
    duration(text)
    return "0s" if text == "0" else text


def count(text: str) -> int:
    """A number from 1."""
    return _whole(text, 1)


def natural(text: str) -> int:
    """A number from 0."""
    return _whole(text, 0)


def between(least: int, most: int) -> Callable[[str], int]:
    """A reader of whole numbers between these two."""
    return lambda text: _whole(text, least, most)


def array(text: str) -> Array:
    """Numbers of cells: "1-10", "0-100:10", "1,4-6", with %N for N at once at most."""
    listed, percent, most = text.partition("%")
    numbers: list[int] = []
    for part in listed.split(","):
        match = _ARRAY_PART.fullmatch(part)
        if match is None:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a range: write it like 1-10 or 1-10%4"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or int(match[3] or 1) < 1:
            raise argparse.ArgumentTypeError(f"{text!r}: the range {part} is empty")
        step = range(first, last + 1, int(match[3] or 1))
        if len(numbers) + len(step) > _MOST_CELLS:
            raise argparse.ArgumentTypeError(f"{text!r} is more than {_MOST_CELLS:,} cells")
        numbers += step
    if len(set(numbers)) != len(numbers):
        raise argparse.ArgumentTypeError(f"{text!r} contains a number twice")
    return Array(tuple(numbers), _whole(most, 1, _MOST_CELLS) if percent else None)


def limit(text: str) -> int:
    """The most items that the daemon may return at once."""
    return _whole(text, 1, MOST_AT_ONCE)


def minutes(text: str) -> int:
    """The most minutes of history that the daemon may return at once."""
    return _whole(text, 1, MOST_MINUTES)


def integer(text: str) -> int:
    """A whole number, which may be negative."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _whole(text: str, least: int, most: int | None = None) -> int:
    if text.isdecimal() and most is None and len(text.lstrip("0")) >= _TOO_MANY_DIGITS:
        raise argparse.ArgumentTypeError(f"{text!r} is too large")
    if text.isdecimal() and len(text) < _TOO_MANY_DIGITS:
        number = int(text)
        if number >= least and (most is None or number <= most):
            return number
    to = "" if most is None else f" to {most}"
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}{to}")


def pair(text: str) -> tuple[str, str]:
    """A name and a value: "lr=0.05"."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def since(text: str) -> float:
    """A past time: how long ago, or a date."""
    try:
        return past_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def moment(text: str) -> float:
    """A future time: how far ahead, or a date."""
    try:
        return future_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run_name(text: str) -> str:
    """RUN: an id, its beginning, or `last`."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name of a run is empty")
    run, slash, stage = text.partition("/")
    if run and stage:
        raise argparse.ArgumentTypeError(f"{text!r} is a stage, and this command takes runs: {run}")
    if slash:
        raise argparse.ArgumentTypeError(f"{text!r} is not a run: ids have no /")
    return text


def run_and_stage(text: str) -> tuple[str, str | None]:
    """RUN or RUN/STAGE."""
    run, slash, stage = text.partition("/")
    if not run or (slash and not stage):
        raise argparse.ArgumentTypeError(f"{text!r} is not RUN or RUN/STAGE")
    return run, stage or None


def positive(text: str) -> float:
    """A number above 0, which may be a fraction."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
