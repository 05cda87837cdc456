"""Docker's log stream: any chunks, any cut, the same bytes."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import Unreachable
from hostler.model.hosts import Workload
from hostler.runtimes.docker.logs import BadLog, LogParser
from hostler.runtimes.docker.runtime import DockerRuntime
from tests.core.runtimes.support import MemorySink, make_job, silent
from tests.support.machines.direct_link import DirectLink
from tests.support.machines.dockerd import Dockerd

Part = tuple[int, int, bytes]
"""Stream, nanoseconds, bytes."""

_BASE = 1_800_000_000 * 10**9
_STAMP = "2027-01-15T08:00:00.{:09d}Z"

parts = st.lists(
    st.tuples(st.sampled_from([1, 2]), st.integers(0, 6), st.binary(max_size=40)), max_size=30
)
cuts = st.lists(st.integers(1, 120), max_size=40)


def _frames(log: Sequence[Part]) -> bytes:
    made = b""
    for stream, at, data in log:
        body = _STAMP.format(at).encode() + b" " + data
        made += bytes([stream, 0, 0, 0]) + len(body).to_bytes(4, "big") + body
    return made


def _since(log: Sequence[Part], since: str | None) -> Sequence[Part]:
    """What Docker sends for `since`: from the first part that is not older, everything."""
    if since is None:
        return log
    seconds, _, rest = since.partition(".")
    wanted = int(seconds) * 10**9 + int(rest) - _BASE
    first = next((i for i, (_, at, _) in enumerate(log) if at >= wanted), len(log))
    return log[first:]


def _chunks(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    made, at = [], 0
    for size in sizes:
        made.append(data[at : at + size])
        at += size
    return [*made, data[at:]]


@given(log=parts, sizes=cuts)
def test_chunks_do_not_matter(log: list[Part], sizes: list[int]) -> None:
    parser = LogParser({})
    got = b"".join(parser.feed(chunk) for chunk in _chunks(_frames(log), sizes))
    assert got == b"".join(data for _, _, data in log)


@given(log=parts, stops=st.lists(st.integers(0, 200), max_size=6), sizes=cuts)
def test_a_cut_anywhere_loses_and_repeats_nothing(
    log: list[Part], stops: list[int], sizes: list[int]
) -> None:
    """Stamps go back and forth and repeat, the log grows between the cuts."""
    position: Mapping[str, Any] = {}
    got = b""
    for number, stop in enumerate([*stops, None]):
        there = log if stop is None else log[: len(log) * (number + 1) // (len(stops) + 1)]
        parser = LogParser(position)
        sent = _frames(_since(there, parser.since))
        for chunk in _chunks(sent if stop is None else sent[:stop], sizes):
            got += parser.feed(chunk)
            position = json.loads(json.dumps(parser.position))
    assert got == b"".join(data for _, _, data in log)


def test_a_rotated_log_goes_on_with_what_is_left() -> None:
    parser = LogParser({"stamp": _STAMP.format(5), "parts": 3})
    assert parser.feed(_frames([(1, 6, b"new"), (1, 5, b"late")])) == b"newlate"


def test_stamps_of_another_form_are_understood() -> None:
    body = b"2027-01-15T09:00:00.25+01:00 hello"
    parser = LogParser({})
    assert parser.feed(bytes([1, 0, 0, 0, 0, 0, 0, len(body)]) + body) == b"hello"
    assert parser.position == {"stamp": "2027-01-15T08:00:00.250000000Z", "parts": 1}
    assert LogParser(parser.position).since == f"{_BASE // 10**9}.250000000"


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 500 no frames here",
        bytes([1, 0, 0, 0, 0xFF, 0, 0, 0]),
        bytes([1, 0, 0, 0, 0, 0, 0, 5]) + b"xxxxx",
        bytes([3, 0, 0, 0, 0, 0, 0, 5]) + b"error",
    ],
)
def test_a_stream_of_another_kind_is_refused(sent: bytes) -> None:
    with pytest.raises(BadLog):
        LogParser({}).feed(sent)


@pytest.mark.parametrize("position", [{"offset": 3}, {"stamp": "x", "parts": 1}, {"stamp": 5}])
def test_a_foreign_position_means_the_beginning(position: Mapping[str, Any]) -> None:
    assert LogParser(position).position == {}
    assert LogParser(position).since is None


async def _start(runtime: DockerRuntime, link: DirectLink, line: str) -> Workload:
    job = make_job(line)
    ref = await runtime.create(link, job, silent)
    return await runtime.start(link, job, ref)


async def _remove(runtime: DockerRuntime, link: DirectLink, workload: Workload) -> None:
    await runtime.stop(link, workload, 0.0)
    await runtime.remove(link, workload)


async def test_output_is_exact(runtime: DockerRuntime, link: DirectLink) -> None:
    """Bytes that are no text, a line of a megabyte, escapes, a last line without its end."""
    line = (
        "head -c 300000 /dev/zero; echo; head -c 1000000 /dev/zero; echo;"
        " printf '\\033[2J\\377\\376\\r\\n'; printf end"
    )
    workload = await _start(runtime, link, line)
    sink = MemorySink()
    await runtime.follow(link, workload, sink)
    expected = bytes(300000) + b"\n" + bytes(1000000) + b"\n" + b"\033[2J\377\376\r\nend"
    assert hashlib.sha256(sink.data).hexdigest() == hashlib.sha256(expected).hexdigest()
    await _remove(runtime, link, workload)


@pytest.mark.slow
async def test_many_lines_come_whole_across_cuts(runtime: DockerRuntime, link: DirectLink) -> None:
    workload = await _start(runtime, link, "seq 100000")
    sink, cuts = MemorySink(), 0
    while True:
        link.cut_after = link.received + 800_000 if cuts < 4 else None
        try:
            await runtime.follow(link, workload, sink)
            break
        except Unreachable:
            cuts += 1
            link.heal()
    expected = "".join(f"{n}\n" for n in range(1, 100_001)).encode()
    assert cuts == 4
    assert hashlib.sha256(sink.data).hexdigest() == hashlib.sha256(expected).hexdigest()
    await _remove(runtime, link, workload)


_FOLLOWER = """
import asyncio, json, sys
from pathlib import Path
from hostler.model.hosts import Workload
from hostler.runtimes.docker.runtime import DockerRuntime
from tests.support.machines.direct_link import DirectLink

class FileSink:
    # One record holds bytes and position, so that a kill can split neither.
    def __init__(self, path):
        self.file = open(path, "ab", buffering=0)
        self.position = {}
    def append(self, data, position):
        self.position = position
        head = json.dumps([position, len(data)]).encode() + b"\\n"
        self.file.write(head + data)

async def main():
    link, runtime = DirectLink(Path(sys.argv[1])), DockerRuntime(Path)
    workload = Workload("a", "d", "docker", sys.argv[2], running=True)
    await runtime.follow(link, workload, FileSink(sys.argv[3]))
    await runtime.close()

asyncio.run(main())
"""


def _records(path: Path) -> tuple[bytes, dict[str, Any]]:
    """All whole records of a killed follower's file."""
    data, position, at = b"", {}, 0
    raw = path.read_bytes()
    pieces = []
    while (end := raw.find(b"\n", at)) >= 0:
        found, size = json.loads(raw[at:end])
        piece = raw[end + 1 : end + 1 + size]
        if len(piece) < size:
            break
        pieces.append(piece)
        position, at = found, end + 1 + size
    data = b"".join(pieces)
    return data, position


async def test_a_killed_follower_is_continued_where_it_was(
    runtime: DockerRuntime, link: DirectLink, dockerd: Dockerd, tmp_path: Path
) -> None:
    workload = await _start(runtime, link, "seq 50000; sleep 0.2; seq 50000")
    file, sink = tmp_path / "log", MemorySink()
    process = subprocess.Popen(
        [sys.executable, "-c", _FOLLOWER, str(dockerd.socket), workload.ref, str(file)],
        env={**os.environ, "PYTHONPATH": "core:."},
    )
    async with asyncio.timeout(60):
        while not file.exists() or file.stat().st_size < 200_000:
            await asyncio.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert await asyncio.to_thread(process.wait, 60) == -signal.SIGKILL
    got, sink.position = _records(file)
    await runtime.follow(link, workload, sink)
    got += sink.data
    expected = "".join(f"{n}\n" for n in range(1, 50_001)).encode() * 2
    assert hashlib.sha256(got).hexdigest() == hashlib.sha256(expected).hexdigest()
    await _remove(runtime, link, workload)


async def test_a_finished_log_is_read_again_for_nothing(
    runtime: DockerRuntime, link: DirectLink
) -> None:
    workload = await _start(runtime, link, "echo a; echo b >&2; echo c")
    sink = MemorySink()
    await runtime.follow(link, workload, sink)
    ended = await runtime.inspect(link, workload.ref)
    assert ended is not None
    before = bytes(sink.data)
    await runtime.follow(link, ended, sink)
    await runtime.follow(link, dataclasses.replace(ended, running=True), sink)
    assert bytes(sink.data) == before
    anew = MemorySink()
    await runtime.follow(link, ended, anew)
    assert bytes(anew.data) == before, "the copy is not Docker's own log"
    # Docker waits two seconds for output after the end of a container. What comes later, as on a
    # very busy machine, it drops.
    assert set(before.split()) <= {b"a", b"b", b"c"}
    await _remove(runtime, link, workload)


async def test_no_output_at_all_is_an_end_too(runtime: DockerRuntime, link: DirectLink) -> None:
    workload = await _start(runtime, link, "true")
    sink = MemorySink()
    await runtime.follow(link, workload, sink)
    assert sink.data == b""
    assert sink.position == {}
    await _remove(runtime, link, workload)
