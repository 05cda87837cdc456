"""Formats and parses times for people: how long ago ("2h"), how far ahead ("30d"), or a date."""

from __future__ import annotations

import time

from hostler.base.units import parse_duration

_LATEST = 253402300800.0
"""The end of the year 9999."""
_FAR = 1e11
"""Seconds since the epoch; a larger number is not read as a date."""


def local_text(form: str, at: float) -> str:
    """A time in the user's time zone, in that form; "?" for one that no calendar has."""
    try:
        if -_LATEST < at < _LATEST:
            return time.strftime(form, time.localtime(at))
    except (OverflowError, ValueError, OSError):
        pass
    return "?"


def past_time(text: str) -> float:
    """Seconds since the epoch: how long ago ("2h", "30d"), or a date ("2026-11-24",
    "2026-11-24T12:00"). Raises ValueError with a sentence for people."""
    try:
        return time.time() - parse_duration(text)
    except ValueError:
        pass  # not a duration: a date
    try:
        return _date(text)
    except ValueError:
        raise ValueError(
            f"{text!r} should be an age like 2h or 30d, or a date like 2026-11-24"
        ) from None


def future_time(text: str) -> float:
    """Seconds since the epoch: how far ahead ("30d"), or a date ("2026-12-24",
    "2026-12-24T12:00"). Raises ValueError with a sentence for people."""
    try:
        at = time.time() + parse_duration(text)
    except ValueError:
        try:
            at = _date(text)
        except ValueError:
            raise ValueError(
                f"{text!r} should be a duration like 30d or a date like 2026-12-24"
            ) from None
    if not time.time() < at < _FAR:
        raise ValueError(f"{text!r} is not in the future")
    return at


def _date(text: str) -> float:
    from datetime import datetime  # slow to load, and seldom wanted

    return datetime.fromisoformat(text).timestamp()


def clock_text(at: float | None) -> str:
    """A time in the user's time zone: "2026-11-24 12:04"; "-" for None."""
    return "-" if at is None else local_text("%Y-%m-%d %H:%M", at)


def exact_time(at: float | None) -> str:
    """RFC 3339 with zone, for pipes; "" for None."""
    if at is None:
        return ""
    stamp = local_text("%Y-%m-%dT%H:%M:%S%z", at)
    return f"{stamp[:-2]}:{stamp[-2:]}" if len(stamp) > 2 else stamp
