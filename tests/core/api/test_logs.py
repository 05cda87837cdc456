"""Logs over the socket: where they begin, how long they are, how they end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hostler.client import AsyncClient, Client
from hostler.model.runs import Outcome, Phase
from tests.support.daemons.served import Served, served
from tests.support.values import stored

T = TypeVar("T")
LINES = b"".join(b"line %d\n" % number for number in range(300_000))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        yield running


def put(daemon: Served, work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, daemon.loop).result(60)


async def log(daemon: Served, data: bytes) -> None:
    daemon.service.context.store.open_log("raaaaaa", "raaaaaa-train-1", 2**30).append(data, {})


async def finished(daemon: Served, data: bytes) -> None:
    store = daemon.service.context.store
    await store.create_run(stored.run(), "", [])
    await store.add_attempt(stored.attempt())
    await stored.put_attempt(store, stored.attempt(phase=Phase.SUCCEEDED))
    await store.end_run("raaaaaa", Outcome.SUCCEEDED, 200.0)
    await log(daemon, data)


def test_a_finished_log_comes_whole_and_says_its_size(daemon: Served) -> None:
    put(daemon, finished(daemon, LINES))
    client = Client(daemon.socket_path)
    found = client.logs("raaaaaa", "train")
    assert (found.attempt, found.size, found.offset) == ("raaaaaa-train-1", len(LINES), 0)
    assert b"".join(found) == LINES

    async def read() -> bytes:
        found = await AsyncClient(daemon.socket_path).logs("raaaaaa", "train")
        assert found.size == len(LINES)
        return b"".join([part async for part in found])

    assert asyncio.run(read()) == LINES


@pytest.mark.parametrize("follow", [False, True])
def test_a_part_is_no_more_than_asked_for(daemon: Served, follow: bool) -> None:
    put(daemon, finished(daemon, LINES))
    client = Client(daemon.socket_path)
    for offset, length in ((0, 0), (0, 1), (100, 2_000_000), (len(LINES) - 5, 100)):
        found = client.logs("raaaaaa", "train", offset=offset, length=length, follow=follow)
        assert (found.size, found.offset) == (len(LINES), offset)
        assert b"".join(found) == LINES[offset : offset + length]
    assert b"".join(client.logs("raaaaaa", "train", offset=len(LINES) + 9, follow=follow)) == b""


def test_a_tail_says_where_it_begins(daemon: Served) -> None:
    put(daemon, finished(daemon, LINES))
    found = Client(daemon.socket_path).logs("raaaaaa", "train", tail=2)
    assert b"".join(found) == b"line 299998\nline 299999\n"
    assert found.offset == len(LINES) - 24
    found = Client(daemon.socket_path).logs("raaaaaa", "train", tail=2, length=4)
    assert b"".join(found) == b"line"


def test_a_log_that_grows_is_followed_up_to_the_length(daemon: Served) -> None:
    context = daemon.service.context
    running = stored.attempt(phase=Phase.RUNNING)
    daemon.loop.call_soon_threadsafe(context.run_cache.add, stored.run(attempts=(running,)))
    put(daemon, log(daemon, b"one\n"))
    found = Client(daemon.socket_path).logs("raaaaaa", "train", follow=True, length=6)
    assert found.size == 4
    got: list[bytes] = []
    seen = threading.Event()

    def read() -> None:
        for part in found:
            got.append(part)
            seen.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert seen.wait(60)
    assert got == [b"one\n"]
    put(daemon, log(daemon, b"two\n"))
    reader.join(60)
    assert b"".join(got) == b"one\ntw"
    daemon.loop.call_soon_threadsafe(context.run_cache.drop, "raaaaaa", Outcome.SUCCEEDED)
