"""The questions that keep the model fresh."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from textual.message import Message

from hostler.base.errors import NotFoundError
from hostler.model.views.alerts import AlertList, AlertView
from hostler_tui import feed as feed_module
from hostler_tui.feed import MOST_RUNS, Feed
from hostler_tui.messages import AlertsSeen


class Log:
    """A log of events with these numbers; it counts what it is asked."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers, self.asked = numbers, 0
        self.alerts_told = AlertList(alerts=(AlertView(id=1),), open=1)

    async def events(self, *, limit: int) -> AsyncIterator[dict[str, Any]]:
        self.asked += 1
        for number in self.numbers[-limit:]:
            yield {"event": {"seq": number}}

    async def alerts(self) -> AlertList:
        self.asked += 1
        return self.alerts_told


@pytest.mark.parametrize("numbers", [[], [1], [7, 9_000, 50_000]], ids=len)
async def test_the_newest_event_is_found_with_one_question(numbers: list[int]) -> None:
    log = Log(numbers)
    found = await Feed(log, lambda message: None)._newest()  # type: ignore[arg-type]
    assert found == max(numbers, default=0)
    assert log.asked == 1


async def test_alerts_are_asked_again_when_something_happened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_module, "ALERTS_REST", 0.0)
    told: list[Message] = []
    log = Log([1])
    feed = Feed(log, told.append)  # type: ignore[arg-type]
    following = asyncio.create_task(feed.follow_alerts())
    async with asyncio.timeout(5):
        while not told:
            await asyncio.sleep(0)
        log.alerts_told = AlertList()
        feed.refresh()
        while len(told) < 2:
            await asyncio.sleep(0)
    following.cancel()
    counts = [message.open_count for message in told if isinstance(message, AlertsSeen)]
    assert counts[:2] == [1, 0]


class Runs:
    """So many open runs, of which one is removed between the two questions."""

    def __init__(self, count: int) -> None:
        self.ids = [f"r{number}" for number in range(count)]

    async def runs(self, *, state: str, limit: int) -> list[dict[str, Any]]:
        assert state == "open"
        return [{"run_id": run_id} for run_id in reversed(self.ids)][:limit]

    async def show(self, run_id: str) -> dict[str, Any]:
        if run_id == self.ids[-1]:
            raise NotFoundError(f"no run {run_id}")
        return {"run_id": run_id}


@pytest.mark.parametrize(("count", "are_more"), [(3, False), (MOST_RUNS, False), (90, True)])
async def test_of_many_open_runs_the_newest_are_told_and_that_there_are_more(
    count: int, are_more: bool
) -> None:
    lab = Runs(count)
    told = await Feed(lab, lambda message: None)._open_runs()  # type: ignore[arg-type]
    assert [run["run_id"] for run in told.runs] == lab.ids[-MOST_RUNS:][:-1]
    assert told.are_more is are_more
