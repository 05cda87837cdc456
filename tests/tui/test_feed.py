"""The questions that keep the model fresh."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from textual.message import Message

from hostler_tui import feed as feed_module
from hostler_tui.feed import Feed
from hostler_tui.messages import AlertsSeen


class Log:
    """A log of events with these numbers; it counts what it is asked."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers, self.asked = numbers, 0
        self.alerts_told = {"alerts": [{"id": 1}], "open": 1}

    async def events(self, *, after: int, limit: int) -> AsyncIterator[dict[str, Any]]:
        self.asked += 1
        for number in [n for n in self.numbers if n > after][:limit]:
            yield {"event": {"seq": number}}

    async def alerts(self) -> dict[str, Any]:
        self.asked += 1
        return self.alerts_told


@pytest.mark.parametrize(
    "numbers",
    [[], [1], [5], [*range(1, 1025)], [*range(1, 1027)], [7, 9_000, 9_001, 50_000], [*range(3000)]],
    ids=len,
)
async def test_the_newest_event_is_found_with_few_questions(numbers: list[int]) -> None:
    log = Log(numbers)
    found = await Feed(log, lambda message: None)._newest()  # type: ignore[arg-type]
    assert found == max(numbers, default=0)
    assert log.asked <= 40


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
        log.alerts_told = {"alerts": [], "open": 0}
        feed.refresh()
        while len(told) < 2:
            await asyncio.sleep(0)
    following.cancel()
    counts = [message.open_count for message in told if isinstance(message, AlertsSeen)]
    assert counts[:2] == [1, 0]
