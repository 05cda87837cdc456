"""Large arrays that are refused are not read again and again."""

from __future__ import annotations

import pytest

from hostler.base.errors import ConflictError, InputError
from hostler.daemon.turns import LARGE_ARRAY, Rests


class Clock:
    """A time that is set by hand."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def refused(rests: Rests, clock: Clock, host: str, tasks: int, seconds: float) -> None:
    def fail() -> None:
        clock.time += seconds
        raise InputError("no", remedy="none")

    with pytest.raises(InputError), rests.after_refusal(host, tasks):
        fail()


def accepted(rests: Rests, host: str, tasks: int) -> None:
    with rests.after_refusal(host, tasks):
        pass


def test_its_host_rests_ten_times_as_long_as_it_took() -> None:
    clock = Clock()
    rests = Rests(clock)
    refused(rests, clock, "gpu1", LARGE_ARRAY, 3.0)
    with pytest.raises(ConflictError) as caught:
        accepted(rests, "gpu1", LARGE_ARRAY)
    assert caught.value.remedy == "Submit it again in 27 s"
    accepted(rests, "gpu1", LARGE_ARRAY - 1)
    accepted(rests, "gpu2", LARGE_ARRAY)
    clock.time += 28
    accepted(rests, "gpu1", LARGE_ARRAY)


def test_small_ones_and_those_that_succeed_cost_no_rest() -> None:
    clock = Clock()
    rests = Rests(clock)
    refused(rests, clock, "gpu1", LARGE_ARRAY - 1, 3.0)
    accepted(rests, "gpu1", LARGE_ARRAY)
    accepted(rests, "gpu1", LARGE_ARRAY)
