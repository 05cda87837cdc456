"""Channels as streams, without a connection."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hostler.ssh.streams import ChannelStream


class Channel:
    """Notes whether it was told to wait."""

    def __init__(self) -> None:
        self.waits = False

    def pause_reading(self) -> None:
        self.waits = True

    def resume_reading(self) -> None:
        self.waits = False


def _stream(*packets: bytes) -> tuple[ChannelStream, Channel]:
    stream, channel = ChannelStream("gpu1", 10.0), Channel()
    stream.connection_made(channel)
    for packet in packets:
        stream.data_received(packet, None)
    return stream, channel


async def test_what_came_in_small_packets_is_read_at_once() -> None:
    stream, _ = _stream(*[b"a line\n"] * 1000)
    assert await stream.read(262144) == b"a line\n" * 1000
    stream.eof_received()
    assert await stream.read() == b""


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=30), st.integers(1, 1000))
async def test_no_byte_is_lost_whatever_the_limit(packets: list[bytes], limit: int) -> None:
    stream, _ = _stream(*packets)
    stream.eof_received()
    pieces = []
    while piece := await stream.read(limit):
        assert len(piece) <= limit
        pieces.append(piece)
    assert b"".join(pieces) == b"".join(packets)
    assert all(len(piece) == limit for piece in pieces[:-1])


async def test_the_other_side_waits_while_nobody_reads() -> None:
    stream, channel = _stream(*[bytes(100_000)] * 11)
    assert channel.waits
    while channel.waits:
        await stream.read(100_000)
    assert len(await stream.read(1_000_000)) < 256 * 1024
