"""The files of a run on the screen: marked, fetched, read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from hostler.base.errors import ConflictError, HostlerError, Problem
from hostler.client.fetch import Fetched
from hostler.model.views.files import FileList
from hostler_tui.run.files import FilesSheet
from hostler_tui.widgets.table import Table
from tests.core.client.test_fetch_places import file
from tests.support.screens.madefleet import Shown, made_fleet
from tests.support.screens.maderuns import StoredRuns, training
from tests.support.screens.screen import text_of, until, until_shown


class Remote:
    """As `AsyncRemoteFile`."""

    def __init__(self, data: bytes) -> None:
        self.size, self._data = len(data), data
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._data

    async def close(self) -> None:
        self.closed = True


class WithFiles(StoredRuns):
    """Knows files, too."""

    def __init__(self, *runs: Any) -> None:
        super().__init__(*runs)
        self.listed = [
            file("model.pt", stage="train", size=3 << 30),
            file("log.txt", stage="train", size=30),
            file("evil\x1b[2J", stage="train", size=1),
        ]
        self.fetched: list[tuple[Any, ...]] = []
        self.problem: HostlerError | None = None
        self.hangs = False
        self.data = b"epoch 1: loss 0.5\n\x1b[2Jend\n"

    async def files(self, run_id: str, *, stage: str | None = None) -> FileList:
        self.asked_stage = stage
        return FileList(files=tuple(self.listed))

    async def read_file(self, *_words: Any, **_options: Any) -> Remote:
        self.remote = Remote(self.data)
        return self.remote

    async def download(
        self, run_id: str, names: Sequence[str], target: Path, *, stage: str, force: bool,
        progress: Any,
    ) -> tuple[Fetched, ...]:  # fmt: skip
        self.fetched.append((list(names), target, stage, force))
        if self.problem is not None and not force:
            raise self.problem
        await asyncio.to_thread(progress, names[0], 1, 2)
        if self.hangs:
            await asyncio.Event().wait()
        return tuple(Fetched(stage, name, name, 1, "0" * 64, "fetched") for name in names)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shown:
    monkeypatch.chdir(tmp_path)
    return Shown(monkeypatch, tmp_path)


async def opened(shown: Shown, pilot: Pilot[int], stage: str = "train") -> WithFiles:
    told = training()
    client = WithFiles(told)
    shown.app._client = client  # type: ignore[assignment]
    await shown.see(pilot, made_fleet(), told)
    shown.app.open_run(told.run_id, stage)
    await until_shown(pilot, "tokenize")
    await pilot.press("g")
    await until_shown(pilot, "model.pt")
    return client


async def test_files_are_listed_and_cleaned(shown: Shown) -> None:
    async with shown.run(100, 30) as pilot:
        client = await opened(shown, pilot)
        seen = text_of(shown.app)
        assert "3 files, 3 GiB" in seen
        assert "\x1b[2J" not in seen
        assert client.asked_stage is None
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(shown.app.screen, FilesSheet), "it stays")


async def test_of_a_stage_that_runs_its_folder_is_listed(shown: Shown) -> None:
    async with shown.run(100, 30) as pilot:
        client = await opened(shown, pilot, "stats")
        assert client.asked_stage == "stats"


async def test_what_is_marked_is_fetched_into_the_folder_that_was_asked_for(
    shown: Shown, tmp_path: Path
) -> None:
    async with shown.run(100, 30) as pilot:
        client = await opened(shown, pilot)
        table = shown.app.screen.query_one(Table)
        table.mark({"model.pt", "log.txt"})
        await pilot.press("g")
        await until_shown(pilot, "Fetch 2 files, 3 GiB?")
        assert "command: hostler get r7f3a2k log.txt model.pt -o" in text_of(shown.app)
        await pilot.press("enter", "enter")
        await until(pilot, lambda: bool(client.fetched), "nothing is fetched")
        assert client.fetched == [(["log.txt", "model.pt"], tmp_path, "train", False)]
        await until(pilot, lambda: not table.marks, "the marks stay")
        assert "fetched 2 files into" in shown.app.lab.notices[-1].text


async def test_files_in_the_way_are_replaced_only_after_a_yes(shown: Shown) -> None:
    async with shown.run(100, 30) as pilot:
        client = await opened(shown, pilot)
        client.problem = ConflictError(
            "nothing was fetched", problems=[Problem("", "/x/evil: a file with other content")]
        )
        await pilot.press("g")
        await until_shown(pilot, "Fetch 1 file")
        await pilot.press("enter", "enter")
        await until_shown(pilot, "Replace files that differ?")
        assert "a file with other content" in text_of(shown.app)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(shown.app.screen, FilesSheet), "it stays")
        assert [force for *_, force in client.fetched] == [False]


async def test_esc_stops_a_fetch_and_then_closes(shown: Shown) -> None:
    async with shown.run(100, 30) as pilot:
        client = await opened(shown, pilot)
        client.hangs = True
        await pilot.press("g")
        await until_shown(pilot, "Fetch 1 file")
        await pilot.press("enter", "enter")
        await until_shown(pilot, "50 % of")
        await pilot.press("escape")
        await until(pilot, lambda: "stopped" in shown.app.lab.notices[-1].text, "it goes on")
        assert isinstance(shown.app.screen, FilesSheet)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(shown.app.screen, FilesSheet), "it stays")


async def test_a_text_is_read_without_steering_the_terminal(shown: Shown) -> None:
    async with shown.run(100, 30) as pilot:
        client = await opened(shown, pilot)
        await pilot.press("o")
        await until_shown(pilot, "epoch 1: loss 0.5")
        assert "\x1b[2J" not in text_of(shown.app)
        assert client.remote.closed
        await pilot.press("escape")
        client.data = b"\0\1\2"
        await pilot.press("o")
        await until_shown(pilot, "not a text file: fetch it")
