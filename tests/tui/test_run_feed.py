"""The questions about an open run, through a daemon that comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from textual.message import Message

from hostler.base.errors import NoDaemonError, NotFoundError
from hostler.model.views.alerts import EventView, StreamLine
from hostler.model.views.runs import RunView
from hostler_tui.run import feed as run_feed
from hostler_tui.run.feed import RunAnswered, RunFeed, RunTold

OPEN = RunView(run_id="r1")
OVER = RunView(run_id="r1", outcome="failed")


class Client:
    """Its streams are those of the script, one after the other."""

    def __init__(self, *streams: list[Any]) -> None:
        self.streams = list(streams)
        self.asked: list[int | None] = []

    async def run_events(
        self, run_id: str, *, after: int | None, follow: bool
    ) -> AsyncIterator[StreamLine]:
        """The next one; an exception in it is raised."""
        self.asked.append(after)
        for told in self.streams.pop(0):
            if isinstance(told, Exception):
                raise told
            yield told


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_feed, "AWAY_S", 0.0)
    monkeypatch.setattr(run_feed, "AGAIN_S", 0.0)


async def _followed(client: Client) -> list[Message]:
    told: list[Message] = []
    await asyncio.wait_for(RunFeed(client, told.append).follow("r1"), 30)  # type: ignore[arg-type]
    return told


def _event(seq: int) -> StreamLine:
    return StreamLine(event=EventView(seq, 1.0, "x", "it is so"))


async def test_a_stream_that_breaks_off_is_taken_up_after_its_last_event() -> None:
    client = Client(
        [_event(1), _event(2), StreamLine(run=OPEN), _event(3)],
        [NoDaemonError("gone", remedy="")],
        [_event(4), StreamLine(run=OVER)],
    )
    told = await _followed(client)
    assert client.asked == [None, 3, 3]
    runs = [message.run for message in told if isinstance(message, RunTold) and message.run]
    assert runs == [OPEN, OVER]
    events = [e.seq for message in told if isinstance(message, RunTold) for e in message.events]
    assert events == [1, 2, 3, 4]


async def test_a_run_that_is_over_is_asked_for_once() -> None:
    client = Client([StreamLine(run=OVER)])
    assert len(await _followed(client)) == 1


async def test_a_run_that_is_not_there_says_so() -> None:
    told = await _followed(Client([NotFoundError("there is no run r1", remedy="hostler runs")]))
    assert isinstance(told[0], RunAnswered)
    assert "there is no run r1" in told[0].why


async def test_a_long_past_is_told_in_parts() -> None:
    told = await _followed(Client([*map(_event, range(1, 1201)), StreamLine(run=OVER)]))
    assert [len(m.events) for m in told if isinstance(m, RunTold)] == [500, 500, 200]
