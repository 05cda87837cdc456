"""The questions that keep the model fresh."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from textual.message import Message

from hostler.base.errors import NotFoundError
from hostler.client.call import Call
from hostler.model.views.alerts import AlertList, AlertView, EventView, StreamLine
from hostler.model.views.runs import RunDetail, RunRow
from hostler_tui import feed as feed_module
from hostler_tui import service_feed
from hostler_tui.feed import MOST_RUNS, Feed
from hostler_tui.messages import AlertsSeen, ServicesSeen
from hostler_tui.service_feed import ServiceFeed
from tests.support.screens.madeservices import RELEASES, STOPPED, VIEWS


class Log:
    """A log of events with these numbers; it counts what it is asked."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers, self.asked = numbers, 0
        self.alerts_told = AlertList(alerts=(AlertView(id=1),), open=1)

    async def events(self, *, limit: int) -> AsyncIterator[StreamLine]:
        self.asked += 1
        for number in self.numbers[-limit:]:
            yield StreamLine(event=EventView(number, 1.0, "x", "it is so"))

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
    async with asyncio.timeout(30):
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
        self.title = "first"

    async def runs(self, *, state: str, limit: int) -> tuple[RunRow, ...]:
        assert state == "open"
        return tuple(RunRow(run_id=run_id) for run_id in reversed(self.ids))[:limit]

    async def request(self, call: Call[RunDetail]) -> RunDetail:
        run_id = call.target.rpartition("/")[2]
        if run_id == self.ids[-1]:
            raise NotFoundError(f"no run {run_id}")
        return call.decode({"run_id": run_id, "title": self.title})


@pytest.mark.parametrize(("count", "are_more"), [(3, False), (MOST_RUNS, False), (90, True)])
async def test_of_many_open_runs_the_newest_are_told_and_that_there_are_more(
    count: int, are_more: bool
) -> None:
    lab = Runs(count)
    told = await Feed(lab, lambda message: None)._open_runs()  # type: ignore[arg-type]
    assert [run.run_id for run in told.runs] == lab.ids[-MOST_RUNS:][:-1]
    assert told.are_more is are_more


async def test_a_run_that_is_told_again_as_it_was_is_not_read_again() -> None:
    lab = Runs(3)
    feed = Feed(lab, lambda message: None)  # type: ignore[arg-type]
    first, again = [(await feed._open_runs()).runs for _ in range(2)]
    assert [one is other for one, other in zip(first, again, strict=True)] == [True, True]
    lab.title = "second"
    assert [run.title for run in (await feed._open_runs()).runs] == ["second", "second"]
    lab.ids = lab.ids[1:]
    await feed._open_runs()
    assert len(feed._readers) == 1


class Deployed:
    """Services, some of which have releases."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def services(self, *, stopped: bool) -> object:
        assert stopped
        return (*VIEWS, STOPPED)

    async def releases(self, name: str) -> object:
        self.asked.append(name)
        if name not in RELEASES:
            raise NotFoundError(f"no service {name} was deployed")
        return RELEASES[name]


async def test_services_are_told_with_their_releases_and_others_are_asked_about_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("REST", "SERVICES_EVERY"):
        monkeypatch.setattr(service_feed, name, 0.0)
    lab, told = Deployed(), list[Message]()
    feed = ServiceFeed(lab, told.append)  # type: ignore[arg-type]
    following = asyncio.create_task(feed.follow_services())
    async with asyncio.timeout(30):
        while len(told) < 3:
            await asyncio.sleep(0)
    following.cancel()
    assert isinstance(told[0], ServicesSeen)
    assert [one.name for one in told[0].services] == ["llm-chat", "embed", "tts", "ocr", "asr"]
    assert [len(one.releases) for one in told[0].services] == [4, 1, 0, 0, 2]
    assert lab.asked.count("tts") == lab.asked.count("ocr") == 1
    assert lab.asked.count("embed") == lab.asked.count("asr") == 1, "nothing of them changes"
    assert lab.asked.count("llm-chat") >= 3, "a release is open"
