"""The link over a real sshd: login shells, cuts, killed agents, few sessions, many hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from hostler.base.errors import Refused, Unreachable
from hostler.link.agent_link import AgentLink
from hostler.link.agent_start import AgentProgram
from hostler.link.once import Seen, look_all
from hostler.ports import Dropped
from hostler.ssh.connection import Dialler
from hostler.ssh.door import SshDoor
from hostler.ssh.target import SshSettings, SshTarget
from tests.support.daemons.relay import Relay
from tests.support.machines.sshd import WHY_NOT, Home, Sshd, can_run, free_port, target
from tests.support.programs.scripted_agent import LOOK, heard, running, script, starts

pytestmark = pytest.mark.programs


def make_link(
    where: SshTarget, settings: SshSettings, program: AgentProgram
) -> tuple[AgentLink, Dialler]:
    dialler = Dialler(settings)
    return AgentLink(SshDoor(where, dialler), program, "daemon-1"), dialler


@pytest.fixture
async def relay(sshd: Sshd, home: Home) -> AsyncIterator[Relay]:
    """A way to sshd that can be cut, and whose end is known."""
    relay = await Relay(sshd.port).start()
    home.known_hosts.write_text(f"[127.0.0.1]:{relay.port} {sshd.public_line}\n")
    yield relay
    await relay.stop()


async def test_looks_over_ssh(sshd: Sshd, home: Home, program: AgentProgram) -> None:
    home.know(sshd)
    link, _ = make_link(target(sshd), home.settings(), program)
    await link.connect()
    logins = sshd.log.count("Accepted publickey")
    for number in range(20):
        assert (await link.look(float(number), 30.0)).gpus
    assert sshd.log.count("Accepted publickey") == logins
    await link.close()


@pytest.mark.skipif(not can_run(), reason=WHY_NOT)
async def test_a_login_shell_that_talks_is_tolerated(
    home: Home, program: AgentProgram, tmp_path: Path
) -> None:
    shell = tmp_path / "talk"
    shell.write_text('#!/bin/sh\necho "Welcome!"; printf "\\033[1m(base) "\n'
                     'echo oops >&2\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')  # fmt: skip
    shell.chmod(0o755)
    server = Sshd(tmp_path / "noisy", options=(f"ForceCommand {shell}",)).start()
    try:
        home.know(server)
        link, _ = make_link(target(server), home.settings(), program)
        await link.connect()
        assert (await link.look(1.0, 30.0)).gpus
        await link.close()
    finally:
        server.stop()


async def test_killed_agent_is_started_anew_on_the_same_connection(
    sshd: Sshd, home: Home, program: AgentProgram, folder: Path
) -> None:
    home.know(sshd)
    script(folder, answers={"look": [{"ok": LOOK}, "die"]}, stderr="Killed")
    link, _ = make_link(target(sshd), home.settings(), program)
    await link.connect()
    logins = sshd.log.count("Accepted publickey")
    await link.look(1.0, 30.0)
    assert (await link.look(2.0, 30.0)).gpus
    assert starts(folder) == 2
    assert sshd.log.count("Accepted publickey") == logins
    await link.close()


@pytest.mark.skipif(not can_run(), reason=WHY_NOT)
async def test_one_session_is_enough_for_looks(
    home: Home, program: AgentProgram, folder: Path, tmp_path: Path
) -> None:
    server = Sshd(tmp_path / "narrow", options=("MaxSessions 1",)).start()
    try:
        home.know(server)
        script(folder, answers={"look": [{"ok": LOOK}, "die"]})
        link, _ = make_link(target(server), home.settings(), program)
        await link.connect()
        await link.look(1.0, 30.0)
        assert (await link.look(2.0, 30.0)).gpus
        (tmp_path / "blob").write_bytes(b"x")
        with pytest.raises(Unreachable, match="MaxSessions"):
            await link.put_blob("cd" * 32, tmp_path / "blob")
        assert (await link.look(3.0, 30.0)).gpus
        await link.close()
    finally:
        server.stop()


async def test_cut_is_noticed_and_healed(
    sshd: Sshd, home: Home, program: AgentProgram, folder: Path, relay: Relay
) -> None:
    dialler = Dialler(home.settings())
    door = SshDoor(target(sshd, port=relay.port), dialler)
    link = AgentLink(door, program, "daemon-1")
    await link.connect()
    pushes = link.pushes()
    relay.cut()
    door._open_connection().raw.set_keepalive(0.2)  # only now: a busy machine is silent, too
    with pytest.raises(Unreachable):
        await link.look(1.0, 30.0)
    async with asyncio.timeout(30):
        assert [type(push) async for push in pushes] == [Dropped]
    with pytest.raises(Unreachable, match="no answer"):
        await link.call("ping", {})
    dialler.settings = home.settings(connect_timeout=0.5)
    for _ in range(2):
        with pytest.raises(Unreachable):
            await link.connect()
    dialler.settings = home.settings()
    relay.heal()
    dialler.connects.reset()
    await link.connect()
    assert (await link.look(2.0, 30.0)).gpus
    await link.close()


async def test_closing_waits_for_no_host_that_is_silent(
    sshd: Sshd, home: Home, program: AgentProgram, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostler.ssh.streams._CLOSE_PATIENCE", 60.0)  # of a channel alone
    link, _ = make_link(target(sshd, port=relay.port), home.settings(), program)
    await link.connect()
    relay.cut()
    async with asyncio.timeout(30):
        await link.close()


async def test_reset_connection_drops_the_link_at_once(
    sshd: Sshd, home: Home, program: AgentProgram, relay: Relay
) -> None:
    settings = home.settings(keepalive=600.0)  # what tells it is the reset
    link, _ = make_link(target(sshd, port=relay.port), settings, program)
    await link.connect()
    pushes = link.pushes()
    relay.reset()
    async with asyncio.timeout(30):
        assert [type(push) async for push in pushes] == [Dropped]
    await link.close()


async def test_refused_login_starts_no_agent(
    sshd: Sshd, home: Home, program: AgentProgram, folder: Path
) -> None:
    link, _ = make_link(target(sshd), home.settings(), program)
    with pytest.raises(Refused):
        await link.connect()
    assert starts(folder) == 0
    await link.close()


async def test_closing_ends_the_agent(
    sshd: Sshd, home: Home, program: AgentProgram, folder: Path
) -> None:
    home.know(sshd)
    link, _ = make_link(target(sshd), home.settings(), program)
    await link.connect()
    (pid,) = running(folder)
    await link.close()
    async with asyncio.timeout(30):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.01)
    assert heard(folder)[0]["mode"] == "serve"


async def test_many_hosts_at_once_with_dead_ones_among_them(
    sshd: Sshd, home: Home, program: AgentProgram
) -> None:
    home.know(sshd)
    hung = await asyncio.start_server(lambda r, w: writers.append(w), "127.0.0.1", 0)
    writers: list[asyncio.StreamWriter] = []
    targets = [target(sshd, name=f"gpu{n}") for n in range(12)]
    targets.append(target(sshd, name="silent", port=hung.sockets[0].getsockname()[1]))
    targets.append(target(sshd, name="gone", port=free_port()))
    well = [f"gpu{n}" for n in range(12)]
    for deadline in (4.0, 15.0, 60.0):  # a busy machine needs longer for twelve logins
        dialler = Dialler(home.settings(connect_timeout=120.0))  # what ends it is the deadline
        async with asyncio.timeout(deadline + 30):
            seen = await look_all([SshDoor(t, dialler) for t in targets], program, deadline)
        if all(isinstance(seen[name], Seen) for name in well):
            break
    assert all(isinstance(seen[name], Seen) for name in well), seen
    assert isinstance(seen["silent"], Unreachable)
    assert isinstance(seen["gone"], Unreachable)
    hung.close()
    for writer in writers:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
