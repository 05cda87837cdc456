"""Sessions, Docker's socket, cuts and deadlines of a door, against a real sshd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hostler.base.errors import EngineError, Unreachable
from hostler.model.hosts import HostFacts
from hostler.ports import Hello
from hostler.ssh.connection import Dialler
from hostler.ssh.door import MAX_SESSIONS, SshDoor
from hostler.ssh.streams import ExecSession
from tests.support.daemons.relay import Relay
from tests.support.machines.sshd import WHY_NOT, Home, Sshd, can_run, target


@pytest.fixture
async def door(sshd: Sshd, home: Home, tmp_path: Path) -> AsyncIterator[SshDoor]:
    home.know(sshd)
    where = target(sshd, docker_socket=str(tmp_path / "docker.sock"))
    made = SshDoor(where, Dialler(home.settings()))
    await made.connect()
    yield made
    await made.close()


@pytest.fixture
async def echo(tmp_path: Path) -> AsyncIterator[Path]:
    """A Unix socket that says in capitals what it is told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    path = tmp_path / "docker.sock"
    server = await asyncio.start_unix_server(serve, str(path))
    yield path
    server.close()


@pytest.mark.parametrize(
    ("config", "expected"),
    [("", "aes128-gcm@openssh.com"), ("Ciphers aes256-ctr\n", "aes256-ctr")],
    ids=["cheap-by-default", "as-configured"],
)
async def test_the_cipher(sshd: Sshd, home: Home, config: str, expected: str) -> None:
    home.know(sshd)
    home.config(config)
    dialler = Dialler(home.settings())
    connection = await dialler.dial(target(sshd))
    assert connection.raw.get_extra_info("recv_cipher") == expected
    await dialler.hang_up(connection)


async def test_stdin_and_stdout_carry_bytes_both_ways(door: SshDoor) -> None:
    stream = await door.exec_agent("cat")
    data = bytes(range(256)) * 40_000
    writing = asyncio.create_task(stream.write(data))
    came = b""
    while len(came) < len(data):
        came += await stream.read(100_000)
    await writing
    assert came == data
    await stream.close()
    await stream.close()


async def _round_trip(cat: ExecSession) -> None:
    await cat.write(b"x")
    assert await cat.read() == b"x"


async def test_output_that_nobody_reads_is_held_back(door: SshDoor) -> None:
    stream = await door.exec_agent("head -c 50000000 /dev/zero")
    total = len(await stream.read(1))
    async with asyncio.timeout(30):
        while not stream._paused:
            await asyncio.sleep(0.01)
    beside = await door.exec_agent("cat")
    for _ in range(20):  # what was on the way on this connection comes before the answers
        await _round_trip(beside)
    await beside.close()
    assert stream._held < 6_000_000
    while data := await stream.read():
        total += len(data)
    assert total == 50_000_000
    await stream.close()


async def test_a_command_that_fails_says_why(door: SshDoor) -> None:
    stream = await door.exec_agent("echo no such thing >&2; exit 127")
    assert await stream.read() == b""
    async with asyncio.timeout(30):
        while "127" not in stream.complaint:
            await asyncio.sleep(0.01)
    assert stream.complaint == "no such thing; exit status 127"
    await stream.close()


async def test_at_most_four_sessions_and_a_closed_one_makes_room(door: SshDoor) -> None:
    streams = [await door.exec_agent("cat") for _ in range(MAX_SESSIONS)]
    fifth = asyncio.create_task(door.exec_agent("echo fifth"))
    for _ in range(20):  # a session takes few of them to open
        await _round_trip(streams[0])
    assert not fifth.done()
    await streams.pop().close()
    async with asyncio.timeout(30):
        stream = await fifth
        assert await stream.read() == b"fifth\n"
    for each in (stream, *streams):
        await each.close()


async def test_closing_a_stream_ends_the_command(door: SshDoor, tmp_path: Path) -> None:
    marker = tmp_path / "ended"
    stream = await door.exec_agent(f"cat; touch {marker}")
    await stream.write(b"x")
    assert await stream.read() == b"x"
    await stream.close()
    async with asyncio.timeout(30):
        while not marker.exists():
            await asyncio.sleep(0.01)


async def test_any_other_socket_through_a_channel(door: SshDoor, echo: Path) -> None:
    stream = await door.open_socket(str(echo))
    await stream.write(b"ping")
    assert await stream.read() == b"PING"
    await stream.close()
    with pytest.raises(EngineError, match=r"nothing answers at .*/none\.sock") as told:
        await door.open_socket(str(echo.with_name("none.sock")))
    assert "AllowStreamLocalForwarding" in told.value.remedy


async def test_docker_through_a_channel(door: SshDoor, echo: Path) -> None:
    streams = [await door.open_docker() for _ in range(20)]
    for stream in streams:
        await stream.write(b"ping")
    for stream in streams:
        assert await stream.read() == b"PING"
        await stream.close()


async def test_docker_url_is_a_private_socket_that_goes_with_the_door(
    door: SshDoor, echo: Path
) -> None:
    first, second = await asyncio.gather(door.docker_url(), door.docker_url())
    assert first == second
    path = Path(first.removeprefix("unix://"))
    assert len(str(path)) < 100
    assert path.parent.stat().st_mode & 0o777 == 0o700
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"hello")
    assert await reader.read(100) == b"HELLO"
    writer.close()
    await writer.wait_closed()
    await door.close()
    assert not path.parent.exists()


async def test_no_docker_says_what_to_do(door: SshDoor) -> None:
    with pytest.raises(EngineError, match="group docker"):
        await door.open_docker()
    with pytest.raises(EngineError):
        await door.docker_url()


async def test_rootless_docker_is_found_by_the_facts(
    sshd: Sshd, home: Home, echo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.know(sshd)
    monkeypatch.setattr("hostler.ssh.door._USUAL_DOCKER", (str(echo.with_name("nothing")),))
    made = SshDoor(target(sshd), Dialler(home.settings()))
    made.use_hello(Hello(HostFacts(uid=1234), "boot", "v"))
    assert made._docker_paths[1:] == (
        "/run/user/1234/docker.sock", "/run/user/1234/podman/podman.sock"
    )  # fmt: skip
    made._docker_paths = (made._docker_paths[0], str(echo))
    await made.connect()
    stream = await made.open_docker()
    await stream.write(b"a")
    assert await stream.read() == b"A"
    await stream.close()
    await made.close()


async def test_killed_server_is_noticed_and_the_door_opens_again(sshd: Sshd, door: SshDoor) -> None:
    stream = await door.exec_agent("cat")
    sshd.kill_sessions()
    async with asyncio.timeout(30):
        await door.wait_closed()
    with pytest.raises(Unreachable):
        await stream.read()
    with pytest.raises(Unreachable):
        await stream.write(b"x")
    with pytest.raises(Unreachable):
        await door.exec_agent("cat")
    await door.connect()
    again = await door.exec_agent("echo back")
    assert await again.read() == b"back\n"
    await again.close()


async def test_a_cut_line_is_noticed(sshd: Sshd, home: Home) -> None:
    relay = await Relay(sshd.port).start()
    home.known_hosts.write_text(f"[127.0.0.1]:{relay.port} {sshd.public_line}\n")
    door = SshDoor(target(sshd, port=relay.port), Dialler(home.settings(keepalive=1.0)))
    await door.connect()
    stream = await door.exec_agent("cat")
    relay.cut()
    async with asyncio.timeout(30):
        assert await door.wait_closed() == "no answer for 3 s"
    with pytest.raises(Unreachable):
        await stream.read()
    await door.close()
    await relay.stop()


def test_the_usual_patience_is_under_ten_seconds(home: Home) -> None:
    settings = home.settings()
    assert settings.keepalive * (settings.keepalive_count + 1) <= 10


@pytest.mark.programs
@pytest.mark.skipif(not can_run(), reason=WHY_NOT)
async def test_one_session_only_is_named_with_its_remedy(home: Home, tmp_path: Path) -> None:
    server = Sshd(tmp_path / "narrow", options=("MaxSessions 1",)).start()
    try:
        home.know(server)
        door = SshDoor(target(server), Dialler(home.settings()))
        await door.connect()
        first = await door.exec_agent("cat")
        with pytest.raises(Unreachable, match="MaxSessions"):
            await door.exec_agent("cat")
        await first.write(b"still here")
        assert await first.read() == b"still here"
        await first.close()
        second = await door.exec_agent("echo again")
        assert await second.read() == b"again\n"
        await second.close()
        await door.close()
    finally:
        server.stop()


async def test_not_connected_is_unreachable(sshd: Sshd, home: Home) -> None:
    door = SshDoor(target(sshd), Dialler(home.settings()))
    for opening in (door.exec_agent("cat"), door.open_docker(), door.docker_url()):
        with pytest.raises(Unreachable, match="not connected"):
            await opening
    await door.close()
