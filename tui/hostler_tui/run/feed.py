"""Fetches the data of the shown run: how often pages are asked again, points per metric."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from textual.message import Message

from hostler.base.errors import HostlerError, NoDaemonError
from hostler.client import AsyncClient
from hostler.model.views.alerts import EventView
from hostler.model.views.files import ArtifactList
from hostler.model.views.history import MetricsPage
from hostler.model.views.runs import RunView
from hostler_tui.run.data import Answer

AGAIN_S = 3.0
"""Seconds between two requests for the changing parts of an open run."""
AWAY_S = 1.0
"""Seconds until the next try after the stream broke off."""
_POINTS = 500
"""Points of each metric: more than a chart has columns."""
_BATCH = 500
"""Events that are shown together while past events are read."""


class RunTold(Message):
    """An item of a run's stream arrived."""

    def __init__(self, run_id: str, run: RunView | None, events: Sequence[EventView]) -> None:
        super().__init__()
        self.run_id, self.run, self.events = run_id, run, tuple(events)


class RunAnswered(Message):
    """A request about a run was answered, or failed: then `why` has the reason."""

    def __init__(
        self, run_id: str, question: str, stage: str, value: Answer | None, why: str = ""
    ) -> None:
        super().__init__()
        self.run_id, self.question, self.stage = run_id, question, stage
        self.value, self.why = value, why


class RunFeed:
    """Requests data about one run at a time from one daemon."""

    def __init__(self, client: AsyncClient, tell: Callable[[Message], object]) -> None:
        self._client, self._tell = client, tell
        self._after: int | None = None
        """The number of the last event that was passed on."""
        self._is_over = False

    async def follow(self, run_id: str) -> None:
        """Events and states to the run's end, through restarts of the daemon."""
        self._after, self._is_over = None, False
        while not self._is_over:
            try:
                await self._stream(run_id)
            except NoDaemonError:
                pass  # the app's own feed tells of it
            except HostlerError as error:
                self._tell(RunAnswered(run_id, "run", "", None, str(error)))
                return
            if not self._is_over:  # a stream ends with its run, or with the daemon
                await asyncio.sleep(AWAY_S)

    async def _stream(self, run_id: str) -> None:
        events: list[EventView] = []
        async for told in self._client.run_events(run_id, after=self._after, follow=True):
            if told.event is not None:
                events.append(told.event)
                self._after = told.event.seq
            if told.run is not None:
                self._is_over = told.run.outcome is not None
            if told.run is not None or len(events) >= _BATCH:
                self._tell(RunTold(run_id, told.run, events))
                events = []
        if events:
            self._tell(RunTold(run_id, None, events))

    async def ask(
        self, run_id: str, stage: str, questions: Sequence[str], is_over: Callable[[], bool]
    ) -> None:
        """Request a page's data: once, and again until the run is over."""
        while True:
            over, begun = is_over(), time.monotonic()
            for question in questions:
                await self._ask_one(run_id, stage, question)
            if over:
                return
            spent = time.monotonic() - begun
            await asyncio.sleep(max(AGAIN_S, 10 * spent))  # long series are asked for less often

    async def _ask_one(self, run_id: str, stage: str, question: str) -> None:
        try:
            value = await self._answer(run_id, stage, question)
        except NoDaemonError:
            return  # the app's own feed tells of it
        except HostlerError as error:
            self._tell(RunAnswered(run_id, question, stage, None, str(error)))
            return
        self._tell(RunAnswered(run_id, question, stage, value))

    async def _answer(self, run_id: str, stage: str, question: str) -> Answer:
        if question == "metrics":
            rows = await self._client.metrics(run_id, stage, points=_POINTS)
            return MetricsPage(metrics=tuple(rows))
        if question == "usage":
            return await self._client.usage(run_id, stage)
        if question == "why":
            return await self._client.why(run_id)
        if question == "source":
            return await self._client.source(run_id)
        return ArtifactList(artifacts=await self._client.artifacts(run_id))
