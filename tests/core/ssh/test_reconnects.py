"""Caps and back-off, without any network."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import Refused, Unreachable
from hostler.ssh.reconnects import Connects, delay


class FakeTime:
    """A clock that stands still but where the code sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.turns: list[float] = []
        monkeypatch.setattr(Connects, "_now", lambda _: self.now)
        monkeypatch.setattr(Connects, "_turn", self._turn)

    async def _turn(self, state: object) -> None:
        left: float = state.next_at - self.now  # type: ignore[attr-defined]
        self.now += max(0.0, left)
        self.turns.append(self.now)


async def unreachable() -> None:
    raise Unreachable("gpu1", "no route")


async def refused() -> None:
    raise Refused("gpu1", "no", remedy="do something")


async def fine() -> str:
    return "connected"


async def test_backs_off_and_is_seldom_after_the_first_few(monkeypatch: pytest.MonkeyPatch) -> None:
    time = FakeTime(monkeypatch)
    connects = Connects()
    for _ in range(60):
        with pytest.raises(Unreachable):
            await connects.attempt("gpu1", unreachable)
    gaps = [after - before for before, after in zip(time.turns, time.turns[1:], strict=False)]
    assert all(gap >= 1.0 for gap in gaps)
    assert sum(gaps[:3]) <= 6.0
    assert all(gap > 4.999 for gap in gaps[3:])
    assert max(gaps) <= 5.5


async def test_a_host_that_was_away_for_hours_is_tried_as_often_as_one_that_just_went(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time = FakeTime(monkeypatch)
    connects = Connects()
    while time.now < 1000 + 3 * 3600:
        with pytest.raises(Unreachable):
            await connects.attempt("gpu1", unreachable)
    assert time.turns[-1] - time.turns[-2] == pytest.approx(5.0)


async def test_connections_that_do_not_last_count_as_failures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time = FakeTime(monkeypatch)
    connects = Connects()
    for _ in range(10):
        await connects.attempt("gpu1", fine)
    assert time.turns[-1] - time.turns[-2] > 4.999
    time.now += 60.0
    before = time.now
    await connects.attempt("gpu1", fine)
    assert time.now == before


async def test_refused_is_not_tried_again_until_reset() -> None:
    connects = Connects()
    tries = 0

    async def count() -> None:
        nonlocal tries
        tries += 1
        await refused()

    for _ in range(10):
        with pytest.raises(Refused, match="do something"):
            await connects.attempt("gpu1", count)
    assert tries == 1
    assert connects.refusal("gpu1") is not None
    connects.reset("gpu2")
    with pytest.raises(Refused):
        await connects.attempt("gpu1", count)
    assert tries == 1
    connects.reset()
    assert connects.refusal("gpu1") is None
    with pytest.raises(Refused):
        await connects.attempt("gpu1", count)
    assert tries == 2


async def test_refused_is_tried_again_when_its_evidence_has_changed() -> None:
    connects = Connects()
    evidence = ["old"]
    with pytest.raises(Refused):
        await connects.attempt("gpu1", refused, lambda _: evidence[0])
    with pytest.raises(Refused):
        await connects.attempt("gpu1", fine, lambda _: evidence[0])
    evidence[0] = "new"
    assert await connects.attempt("gpu1", fine, lambda _: evidence[0]) == "connected"


async def test_reset_wakes_a_host_that_waits_for_its_turn() -> None:
    connects = Connects()
    for _ in range(2):
        with pytest.raises(Unreachable):
            await connects.attempt("gpu1", unreachable)
    waiting = asyncio.create_task(connects.attempt("gpu1", fine))
    await asyncio.sleep(0)
    assert not waiting.done()
    connects.reset("gpu1")
    async with asyncio.timeout(30):
        assert await waiting == "connected"


@pytest.mark.parametrize(("total", "per_address", "addresses"), [(6, 50, 8), (50, 2, 1)])
async def test_caps_hold(total: int, per_address: int, addresses: int) -> None:
    connects = Connects(total, per_address)
    inside = top = 0

    async def dial(address: str) -> None:
        nonlocal inside, top
        async with connects.gate(address):
            inside += 1
            top = max(top, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(dial(f"host{n % addresses}") for n in range(40)))
    assert top == min(total, per_address)


@given(st.integers(0, 1000), st.floats(0, 1, allow_nan=False))
def test_delay_stays_in_bounds(failures: int, chance: float) -> None:
    seconds = delay(failures, chance)
    assert 0 <= seconds <= 5
    assert (seconds >= 5) == (failures > 3)
