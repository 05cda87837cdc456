"""Numbers that a broken daemon or host may send, as text for people."""

from __future__ import annotations

import math

import pytest

from hostler.base.dates import local_text
from hostler.base.units import format_age, format_duration, format_size

ABSURD = [9e30, -9e30, math.inf, -math.inf, math.nan, 10**400, -(10**400)]


@pytest.mark.parametrize("number", ABSURD)
def test_they_are_shown_as_unknown(number: float) -> None:
    assert format_duration(number).lstrip("-") == "?"
    assert format_age(number) == "?"
    assert format_size(number) == "?"
    assert local_text("%Y", number) == "?"


def test_an_age_is_told_in_whole_seconds_and_is_never_negative() -> None:
    assert [format_age(seconds) for seconds in (-3.2, 0.9, 1.9, 75.5)] == [
        "0s",
        "0s",
        "1s",
        "1m15s",
    ]


def test_a_calendar_ends_with_the_year_9999() -> None:
    assert local_text("%Y", 253402300800.0 - 3 * 86400) == "9999"
    assert local_text("%Y", 253402300800.0) == "?"
