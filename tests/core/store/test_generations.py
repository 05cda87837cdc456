"""Which generation a database is, what makes it a new one, and what is merged into it."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hostler.base.errors import StateError
from hostler.model.generations import FIRST
from hostler.model.runs import Outcome
from hostler.store.database import Store
from hostler.store.generations import (
    NUMBER_FILE,
    Generations,
    Life,
    begin_life,
    highest_number,
    life,
    new_number,
    note_number,
    noted_number,
)
from tests.support.values.stored import event, run


@pytest.fixture
def generations(store: Store) -> Generations:
    return Generations(*store.connections)


@pytest.fixture
def raw(store: Store) -> Iterator[sqlite3.Connection]:
    """Another connection to the same database."""
    with closing(sqlite3.connect(store.folder / "hostler.db", isolation_level=None)) as connection:
        yield connection


async def test_a_new_database_is_the_first_generation(generations: Generations) -> None:
    assert await generations.life() == Life(FIRST, None, None)
    assert await generations.merged() == {}
    assert await generations.restored_runs() == frozenset()


async def test_a_host_is_merged_with_the_event_that_says_so(
    generations: Generations, store: Store
) -> None:
    await generations.mark_merged("gpu1", 5.0, event("run.recovered"))
    await generations.mark_merged("gpu2", 6.0, event("run.recovered"))
    await generations.mark_merged("gpu1", 7.0, event("run.recovered"))
    assert await generations.merged() == {"gpu1": 7.0, "gpu2": 6.0}
    assert [e.kind for e in await store.events()] == ["run.recovered"] * 3


async def test_only_a_newer_generation_supersedes_and_is_told_once(
    generations: Generations, store: Store, raw: sqlite3.Connection
) -> None:
    for number in (9, 9, 8, 10):
        await generations.supersede(number, event("run.recovered"))
    assert (await generations.life()).superseded_by == 10
    assert len(await store.events()) == 2
    assert highest_number(raw) == 10


async def test_a_restored_database_is_newer_than_all_that_it_knows(
    generations: Generations, store: Store, raw: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for run_id in ("raaaaaa", "rbbbbbb"):
        await store.create_run(run(run_id), "", [])
    await store.end_run("rbbbbbb", Outcome.CANCELLED, 120.0)
    await generations.mark_merged("gpu1", 5.0, event("run.recovered"))
    made = begin_life(raw, 50.0)
    assert made == life(raw) == Life(50_000, 50.0, None)
    assert await generations.merged() == {}
    assert await generations.restored_runs() == {"raaaaaa"}
    await generations.add_restored(["rbbbbbb", "raaaaaa"])
    assert await generations.restored_runs() == {"raaaaaa", "rbbbbbb"}
    # The clock is behind: it is higher all the same, and two restores differ.
    await generations.supersede(70_000, event("run.recovered"))
    monkeypatch.setattr(secrets, "randbelow", lambda below: below - 1000)
    assert begin_life(raw, 40.0).number == 70_001
    for chosen in (0, 999):
        monkeypatch.setattr(secrets, "randbelow", lambda below, chosen=chosen: min(chosen, below))
        before = max(90_000, highest_number(raw))
        assert begin_life(raw, 40.0, known=90_000).number == before + 1 + chosen


def test_the_number_of_a_generation_is_its_time() -> None:
    assert new_number(5.25) == 5250
    before = int(time.time() * 1000)
    assert before <= new_number() <= int(time.time() * 1000)


def test_the_highest_number_is_noted_beside_the_database(tmp_path: Path) -> None:
    assert noted_number(tmp_path) == 0
    note_number(tmp_path, FIRST)
    assert not (tmp_path / NUMBER_FILE).exists()
    for number, noted in ((FIRST + 5, FIRST + 5), (FIRST + 4, FIRST + 5), (FIRST + 6, FIRST + 6)):
        note_number(tmp_path, number)
        assert noted_number(tmp_path) == noted
    (tmp_path / NUMBER_FILE).write_text("x")
    with pytest.raises(StateError, match="contains no number") as refused:
        noted_number(tmp_path)
    assert refused.value.remedy.startswith("move it away")


async def test_an_older_database_in_its_place_is_a_new_generation(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    await (await Store.open(folder)).close()
    later = new_number() * 2
    note_number(folder, later)
    opened = await Store.open(folder)
    number = (await Generations(*opened.connections).life()).number
    await opened.close()
    assert later < number <= later + 1000
    assert noted_number(folder) == number
    again = await Store.open(folder)
    assert (await Generations(*again.connections).life()).number == number
    await again.close()


async def test_a_database_that_is_made_anew_for_an_id_is_a_new_generation(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    await (await Store.open(folder)).close()
    later = new_number() * 2
    note_number(folder, later)
    for file in folder.glob("hostler.db*"):
        file.unlink()
    opened = await Store.open(folder)
    assert (await Generations(*opened.connections).life()).number == later + 1
    await opened.close()


async def test_an_id_of_another_daemon_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    await (await Store.open(folder)).close()
    known = (folder / "id").read_text().strip()
    (folder / "id").write_text(("0" if known[0] != "0" else "1") + known[1:] + "\n")
    with pytest.raises(StateError, match="belong to two different daemons") as refused:
        await Store.open(folder)
    assert known in refused.value.remedy
