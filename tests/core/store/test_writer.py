from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler.base.errors import ConflictError, StateError
from hostler.store.connections import Writer, open_for_reading


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    connection = sqlite3.connect(tmp_path / "w.db", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (x UNIQUE)")
    opened = Writer(connection, tmp_path / "w.db")
    yield opened
    opened.close()


def _insert(value: object):  # type: ignore[no-untyped-def]
    return lambda db: db.execute("INSERT INTO t VALUES (?)", (value,)).lastrowid


def _stored(path: Path) -> list[object]:
    connection = open_for_reading(path)
    try:
        return [row[0] for row in connection.execute("SELECT x FROM t ORDER BY rowid")]
    finally:
        connection.close()


class _Gate:
    """Holds the writer's thread, so that what comes meanwhile has to wait together."""

    def __init__(self, writer: Writer) -> None:
        self._entered, self._leave = threading.Event(), threading.Event()
        self._task = asyncio.ensure_future(writer.submit(self._hold))

    def _hold(self, _: sqlite3.Connection) -> None:
        self._entered.set()
        assert self._leave.wait(60)

    async def closed(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, 10)

    async def open(self) -> None:
        self._leave.set()
        await self._task


async def test_what_waits_together_shares_a_commit(writer: Writer, tmp_path: Path) -> None:
    gate = _Gate(writer)
    await gate.closed()
    before = writer.commits
    assert before == 0  # who has read nothing yet remembers -1, and so takes this for news
    waiting = [asyncio.ensure_future(writer.submit(_insert(n))) for n in range(100)]
    await asyncio.sleep(0)
    await gate.open()
    assert await asyncio.gather(*waiting) == list(range(1, 101))
    assert 1 <= writer.commits - before <= 2
    assert _stored(tmp_path / "w.db") == list(range(100))


async def test_one_that_fails_does_not_take_its_neighbours_with_it(
    writer: Writer, tmp_path: Path
) -> None:
    def refuse(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO t VALUES ('half done')")
        raise ConflictError("no")

    gate = _Gate(writer)
    await gate.closed()
    works = [_insert(1), refuse, _insert(1), _insert(2), lambda db: db.execute("nonsense")]
    waiting = [asyncio.ensure_future(writer.submit(work)) for work in works]
    await asyncio.sleep(0)
    await gate.open()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in done] == [int, ConflictError, StateError, int, StateError]
    assert _stored(tmp_path / "w.db") == [1, 2]


async def test_a_change_that_breaks_the_transaction_costs_only_itself(
    writer: Writer, tmp_path: Path
) -> None:
    """A full disk makes SQLite drop the whole transaction; here a trigger does."""
    await writer.submit(
        lambda db: db.execute(
            "CREATE TRIGGER boom BEFORE INSERT ON t WHEN NEW.x = 'boom'"
            " BEGIN SELECT RAISE(ROLLBACK, 'boom'); END"
        ).fetchall()
    )
    gate = _Gate(writer)
    await gate.closed()
    waiting = [
        asyncio.ensure_future(writer.submit(_insert(value))) for value in (1, "boom", 2, "boom", 3)
    ]
    await asyncio.sleep(0)
    await gate.open()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(one, StateError) for one in done] == [False, True, False, True, False]
    assert _stored(tmp_path / "w.db") == [1, 2, 3]


async def test_a_commit_that_fails_blames_only_who_caused_it(
    writer: Writer, tmp_path: Path
) -> None:
    """Foreign keys that are checked at commit make the commit itself fail."""

    def setup(db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE child (t REFERENCES t (x) DEFERRABLE INITIALLY DEFERRED)")

    await writer.submit(setup)
    writer._connection.execute("PRAGMA foreign_keys = ON")
    gate = _Gate(writer)
    await gate.closed()

    def orphan(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO child VALUES (99)")

    waiting = [asyncio.ensure_future(writer.submit(w)) for w in (_insert(1), orphan, _insert(2))]
    await asyncio.sleep(0)
    await gate.open()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(one, StateError) for one in done] == [False, True, False]
    assert _stored(tmp_path / "w.db") == [1, 2]


async def test_a_caller_that_gave_up_harms_nobody(writer: Writer, tmp_path: Path) -> None:
    gate = _Gate(writer)
    await gate.closed()
    given_up = asyncio.ensure_future(writer.submit(_insert(1)))
    other = asyncio.ensure_future(writer.submit(_insert(2)))
    await asyncio.sleep(0)
    given_up.cancel()
    await gate.open()
    await other
    assert given_up.cancelled()
    assert _stored(tmp_path / "w.db") == [1, 2]


async def test_closing_finishes_what_waits(writer: Writer, tmp_path: Path) -> None:
    waiting = [asyncio.ensure_future(writer.submit(_insert(n))) for n in range(50)]
    await asyncio.sleep(0)
    await asyncio.to_thread(writer.close)
    await asyncio.gather(*waiting)
    assert _stored(tmp_path / "w.db") == list(range(50))
    with pytest.raises(StateError):
        await writer.submit(_insert(51))


async def test_closing_ends_a_batch_that_has_gathered(writer: Writer, tmp_path: Path) -> None:
    gate = _Gate(writer)
    await gate.closed()
    waiting = [asyncio.ensure_future(writer.submit(_insert(n))) for n in range(3)]
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(asyncio.to_thread(writer.close))
    while not writer._closed:
        await asyncio.sleep(0)
    await gate.open()
    await asyncio.gather(closing, *waiting)
    assert _stored(tmp_path / "w.db") == [0, 1, 2]


async def test_a_database_that_cannot_be_written_is_said_to_be_so(
    writer: Writer, tmp_path: Path
) -> None:
    reader = Writer(open_for_reading(tmp_path / "w.db"), tmp_path / "w.db")
    with pytest.raises(StateError, match="cannot be written"):
        await reader.submit(_insert(1))
    reader.close()
