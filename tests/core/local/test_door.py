"""This machine as a host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hostler.base.errors import EngineError, Unreachable
from hostler.local import door as local_door
from hostler.local.door import LocalDoor

pytestmark = pytest.mark.programs


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[LocalDoor]:
    made = LocalDoor("here", str(tmp_path / "docker.sock"))
    await made.connect()
    yield made
    await made.close()


async def test_carries_bytes_both_ways(door: LocalDoor) -> None:
    stream = await door.exec_agent("cat")
    data = bytes(range(256)) * 20_000
    writing = asyncio.create_task(stream.write(data))
    came = b""
    while len(came) < len(data):
        came += await stream.read(100_000)
    await writing
    assert came == data
    await stream.close()
    await stream.close()


async def test_what_a_command_said_is_read_though_it_ended_before_it_read_all(
    door: LocalDoor,
) -> None:
    """An agent that refuses a file says why, and ends."""
    stream = await door.exec_agent("echo refused; exit 3")
    with contextlib.suppress(Unreachable):
        while True:
            await stream.write(bytes(100_000))
    assert await stream.read() == b"refused\n"
    assert await stream.read() == b""
    await stream.close()


async def test_runs_in_a_session_of_its_own(door: LocalDoor) -> None:
    stream = await door.exec_agent("ps -o sid= -p $$")
    assert int(await stream.read()) != os.getsid(0)
    await stream.close()


async def test_a_command_that_fails_says_why(door: LocalDoor) -> None:
    stream = await door.exec_agent("echo bad >&2; kill -9 $$")
    assert await stream.read() == b""
    async with asyncio.timeout(30):
        while "SIGKILL" not in stream.complaint:
            await asyncio.sleep(0.01)
    assert stream.complaint == "bad; ended by signal SIGKILL"
    await stream.close()


async def test_closing_ends_what_does_not_end_by_itself(
    door: LocalDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostler.local.door._PATIENCE", 0.1)
    stream = await door.exec_agent("trap '' TERM; echo $$; while :; do sleep 0.01; done")
    pid = int(await stream.read())
    await stream.close()
    assert not Path(f"/proc/{pid}").exists()


async def test_closing_waits_for_a_killed_process_whose_end_is_noticed_late(
    door: LocalDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a busy machine; it was left behind as a zombie."""
    monkeypatch.setattr(local_door, "_PATIENCE", 0.05)
    real = local_door.ProcessStream._signal

    def late(stream: local_door.ProcessStream, send: signal.Signals | None) -> None:
        delay = 0.5 if send is signal.SIGKILL else 0.0
        asyncio.get_running_loop().call_later(delay, real, stream, send)

    monkeypatch.setattr(local_door.ProcessStream, "_signal", late)
    stream = await door.exec_agent("trap '' TERM; echo up; while :; do sleep 0.1; done")
    assert await stream.read() == b"up\n"
    await stream.close()
    assert stream._process.returncode == -signal.SIGKILL


async def test_docker_socket(door: LocalDoor, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="No such file"):
        await door.open_docker()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read(100)).upper())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_unix_server(serve, str(tmp_path / "docker.sock")):
        stream = await door.open_docker()
        await stream.write(b"ping")
        assert await stream.read() == b"PING"
        assert await stream.read() == b""
        await stream.close()
        assert await door.docker_url() == f"unix://{tmp_path / 'docker.sock'}"


async def test_any_other_socket(door: LocalDoor, tmp_path: Path) -> None:
    path = str(tmp_path / "control.sock")
    with pytest.raises(EngineError, match=r"nothing answers at .*control\.sock: No such file"):
        await door.open_socket(path)
    async with await asyncio.start_unix_server(lambda _r, w: w.close(), path):
        stream = await door.open_socket(path)
        assert await stream.read() == b""
        await stream.close()
    await door.close()
    with pytest.raises(Unreachable):
        await door.open_socket(path)


async def test_closed_until_connected_again(door: LocalDoor) -> None:
    waiting = asyncio.create_task(door.wait_closed())
    await asyncio.sleep(0)
    assert not waiting.done()
    await door.close()
    assert await waiting == "closed"
    with pytest.raises(Unreachable):
        await door.exec_agent("true")
    await door.connect()
    stream = await door.exec_agent("echo again")
    assert await stream.read() == b"again\n"
    await stream.close()


async def test_docker_host_names_the_socket_as_it_does_for_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/mine.sock")
    named, plain = LocalDoor("here", str(tmp_path / "config.sock")), LocalDoor("here")
    async with await asyncio.start_unix_server(
        lambda _r, w: w.close(), str(tmp_path / "mine.sock")
    ):
        await plain.connect()
        assert await plain.docker_url() == f"unix://{tmp_path}/mine.sock"
        await named.connect()
        with pytest.raises(EngineError, match=r"config\.sock"):  # the configuration wins
            await named.docker_url()
    with pytest.raises(EngineError, match=r"no Docker at .*/mine\.sock"):
        await plain.docker_url()  # and no other engine is taken in its place


async def test_a_docker_host_that_is_no_socket_is_passed_over_as_by_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostler.local.door._USUAL_DOCKER", (str(tmp_path / "usual.sock"),))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2375")
    door = LocalDoor("here")
    await door.connect()
    with pytest.raises(EngineError, match=r"usual\.sock"):
        await door.docker_url()
