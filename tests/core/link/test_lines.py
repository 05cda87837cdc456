"""Lines from a stream that may end at any byte."""

from __future__ import annotations

import pytest

from hostler.link.lines import CutShort, LineReader


class Bytes:
    """A `ByteStream` that gives these pieces and then ends."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    async def read(self, limit: int = 65536) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def write(self, data: bytes) -> None:
        raise AssertionError(data)

    async def close(self) -> None:
        self._pieces.clear()


@pytest.mark.parametrize("pieces", [(b'{"a": 1}\n{"b"',), (b'{"a"', b": 1}", b"\n{", b'"b"')])
async def test_a_line_that_the_end_cuts_is_no_line(pieces: tuple[bytes, ...]) -> None:
    reader = LineReader(Bytes(*pieces))
    assert [await reader.line() for _ in range(3)] == [b'{"a": 1}', None, None]


async def test_bytes_that_the_end_cuts_are_an_error() -> None:
    reader = LineReader(Bytes(b"x\nab"))
    assert await reader.line() == b"x"
    with pytest.raises(CutShort, match="in the middle"):
        await reader.exactly(3)
