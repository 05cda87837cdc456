"""A Docker whose answers have no end, in bytes or in time: each call ends, and names it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import pytest

from hostler.base.errors import EngineError, Unreachable
from hostler.base.units import MIB
from hostler.model.timings import RuntimeTimings
from hostler.runtimes.docker import sdk
from hostler.runtimes.docker.engine import Engine
from hostler.runtimes.docker.http import request
from tests.support.machines.direct_link import DirectLink, as_link

_PIECE = 64 * 1024
_VERSION = b'{"ApiVersion": "1.47"}'


def _whole(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def _without_end(head: str, piece: bytes) -> Iterator[bytes]:
    yield head.encode()
    yield from itertools.repeat(piece)


_OK = "HTTP/1.1 200 OK\r\n"
_CHUNK = b"%x\r\n%s\r\n" % (_PIECE, b"a" * _PIECE)


class EndlessDocker:
    """Answers `/version` as Docker does, and everything else with `pieces`."""

    def __init__(self, path: Path, pieces: Iterable[bytes], pause: float = 0.0) -> None:
        self.path = path
        self.sent = 0
        self._pieces = pieces
        self._pause = pause
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if b"/version" in head:
                    writer.write(_whole(_VERSION))
                    continue
                for piece in self._pieces:
                    writer.write(piece)
                    self.sent += len(piece)
                    await writer.drain()
                    await asyncio.sleep(self._pause)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the caller has had enough, which is what the tests are about
        finally:
            writer.close()
            self._tasks.discard(task)

    async def end(self) -> None:
        """End what still sends."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def _docker(
    folder: Path, pieces: Iterable[bytes], pause: float = 0.0
) -> AsyncIterator[EndlessDocker]:
    docker = EndlessDocker(folder / "d.sock", pieces, pause)
    server = await asyncio.start_unix_server(docker.serve, str(docker.path))
    try:
        yield docker
    finally:
        server.close()
        await docker.end()


async def _inspect(docker: EndlessDocker, within: float = 60.0) -> Unreachable:
    """The error that a look at a container ends with."""
    timings = RuntimeTimings(docker_answer=within)
    engine = Engine("gpu1", f"unix://{docker.path}", timings)
    try:
        with pytest.raises(Unreachable) as caught:
            async with asyncio.timeout(20):
                await engine.inspect("c" * 64)
    finally:
        await engine.close()
    return caught.value


@pytest.mark.parametrize(
    "pieces",
    [
        _without_end(f"{_OK}Transfer-Encoding: chunked\r\n\r\n", _CHUNK),
        _without_end(f"{_OK}Content-Length: {2**50}\r\n\r\n", b"a" * _PIECE),
        _without_end(f"{_OK}\r\n", b"a" * _PIECE),
        _without_end("", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        _without_end("HTTP/1.1 500 No\r\n\r\n", b"a" * _PIECE),
    ],
    ids=["chunked", "length", "plain", "continue", "error"],
)
async def test_an_answer_without_end_is_cut_and_told(
    pieces: Iterator[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk, "ANSWER_CAP", 4 * MIB)
    async with _docker(tmp_path, pieces) as docker:
        error = await _inspect(docker)
    assert "Docker on gpu1 sent more than 4 MiB for one answer" in error.message
    assert docker.sent < 6 * MIB


async def test_an_answer_that_drips_ends_at_the_limit_of_its_call(tmp_path: Path) -> None:
    drips = _without_end(f"{_OK}Content-Length: 1000000\r\n\r\n", b" ")
    async with _docker(tmp_path, drips, pause=0.05) as docker:
        error = await _inspect(docker, within=1.0)
    assert "timed out" in error.message


async def test_what_grows_by_itself_or_leads_elsewhere_is_not_taken(tmp_path: Path) -> None:
    packed = gzip.compress(b'"' + b"a" * MIB + b'"')
    for answer, words in (
        (_whole(packed, "Content-Encoding: gzip"), "sent an answer that is compressed"),
        (_whole(b"", "Location: http://other/", status="301 Moved"), "sent its caller elsewhere"),
        (_whole(b"[" * MIB), "sent data that is nested too deeply"),
    ):
        async with _docker(tmp_path, [answer]) as docker:
            error = await _inspect(docker)
        assert f"Docker on gpu1 {words}" in error.message
        docker.path.unlink(missing_ok=True)


async def test_a_list_as_large_as_real_ones_is_taken(tmp_path: Path) -> None:
    answer = _whole(b'{"Id": "' + b"a" * (20 * MIB) + b'"}')
    async with _docker(tmp_path, [answer]) as docker:
        engine = Engine("gpu1", f"unix://{docker.path}")
        found = await engine.inspect("c" * 64)
        await engine.close()
    assert found is not None
    assert len(str(found["Id"])) == 20 * MIB


async def test_a_refusal_that_drips_is_told_with_what_came(tmp_path: Path) -> None:
    short = RuntimeTimings(refusal_read=0.5)
    drips = _without_end("HTTP/1.1 500 No\r\n\r\n", b"no ")
    async with _docker(tmp_path, drips, pause=0.05) as docker:
        link = as_link(DirectLink(docker.path, "gpu1"))
        async with asyncio.timeout(20):
            with pytest.raises(EngineError, match="no no") as caught:
                async with request(link, "GET", "/containers/c/logs", timings=short):
                    pytest.fail("a refusal is no answer")
    assert caught.value.status == 500
