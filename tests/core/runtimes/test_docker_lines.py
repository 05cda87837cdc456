"""Lines of JSON that Docker sends, however it cuts them."""

from __future__ import annotations

import time
from collections.abc import Iterable

import h11
import pytest

from hostler.base.errors import EngineError
from hostler.runtimes.docker.http import Response
from hostler_agent.json_values import Message


class Pieces:
    """A connection on which these pieces arrive, one after the other."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    async def read(self, limit: int = 65536) -> bytes:
        return next(self._pieces, b"")

    async def write(self, data: bytes) -> None:
        raise AssertionError

    async def close(self) -> None:
        return


async def lines_of(*pieces: bytes) -> list[Message]:
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="GET", target="/", headers=[("Host", "docker")]))
    parser.send(h11.EndOfMessage())
    response = Response("gpu1", Pieces([b"HTTP/1.0 200 OK\r\n\r\n", *pieces]), parser)
    await response.head()
    return [line async for line in response.json_lines()]


async def test_they_are_the_same_however_they_are_cut() -> None:
    sent = b'{"a":1}\n\n7\nnothing\n{"b":2}\r\n{"c":3}'
    expected: list[Message] = [{"a": 1}, {"b": 2}, {"c": 3}]
    assert await lines_of(sent) == expected
    for size in range(1, len(sent)):
        pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
        assert await lines_of(*pieces) == expected


async def test_a_long_line_in_small_pieces_is_looked_at_once() -> None:
    """It comes to seconds where each piece is put behind all before it."""
    line = b'{"a":"' + b"x" * (7 * 1024 * 1024) + b'"}\n'
    pieces = [line[at : at + 128] for at in range(0, len(line), 128)]
    before = time.process_time()
    assert len(await lines_of(*pieces)) == 1
    assert time.process_time() - before < 3.0


async def test_a_line_without_end_is_given_up() -> None:
    with pytest.raises(EngineError, match="a line over 8 MiB"):
        await lines_of(*[b"x" * 1024 * 1024] * 9)
