"""Who is trusted, who may log in, and what is said when not: against a real sshd."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import Refused, Unreachable
from hostler.ssh.connection import Dialler
from hostler.ssh.door import SshDoor
from hostler.ssh.target import SshSettings, SshTarget
from tests.support.daemons.relay import Relay
from tests.support.machines.sshd import Home, Sshd, free_port, target, write_key


@asynccontextmanager
async def opened(where: SshTarget, settings: SshSettings) -> AsyncIterator[SshDoor]:
    door = SshDoor(where, Dialler(settings))
    await door.connect()
    try:
        yield door
    finally:
        await door.close()


async def output(door: SshDoor, command: str) -> bytes:
    stream = await door.exec_agent(command)
    data = b""
    while more := await stream.read():
        data += more
    await stream.close()
    return data


@asynccontextmanager
async def silent(listen: Callable[..., Any], *where: object) -> AsyncIterator[asyncio.Server]:
    """A server that accepts and says nothing."""
    writers: list[asyncio.StreamWriter] = []
    server = await listen(lambda _, writer: writers.append(writer), *where)
    try:
        yield server
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()


async def refusal(where: SshTarget, settings: SshSettings) -> Refused:
    with pytest.raises(Refused) as caught:
        async with opened(where, settings):
            pass
    return caught.value


async def test_logs_in_and_runs_a_command(sshd: Sshd, home: Home) -> None:
    home.know(sshd)
    async with opened(target(sshd), home.settings()) as door:
        assert await output(door, "echo hello") == b"hello\n"
        assert door.transport == "ssh"
        assert door.host == "gpu1"


async def test_unknown_key_is_refused_and_nothing_is_sent(sshd: Sshd, home: Home) -> None:
    relay = await Relay(sshd.port).start()
    relay.keep = True
    error = await refusal(target(sshd, port=relay.port), home.settings())
    await relay.stop()
    assert "not known" in error.message
    assert "SHA256:" in error.message
    assert "hostler host trust gpu1" in error.remedy
    assert b"ssh-userauth" not in relay.sent
    assert b"root" not in relay.sent
    assert not home.known_hosts.exists()


@pytest.mark.parametrize("nowhere", ["none", "/dev/null", "/dev/null /dev/null"])
async def test_ssh_config_cannot_switch_checking_off(sshd: Sshd, home: Home, nowhere: str) -> None:
    home.config(
        f"Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile {nowhere}\n"
        "  GlobalKnownHostsFile none\n  VerifyHostKeyDNS yes\n"
    )
    error = await refusal(target(sshd), home.settings())
    assert "not known" in error.message


async def test_empty_known_hosts_does_not_switch_checking_off(sshd: Sshd, home: Home) -> None:
    home.known_hosts.write_text("")
    error = await refusal(target(sshd), home.settings())
    assert "not known" in error.message


async def test_changed_key_names_the_line_to_remove(sshd: Sshd, home: Home, tmp_path: Path) -> None:
    write_key(tmp_path / "other")
    other = (tmp_path / "other.pub").read_text()
    home.known_hosts.write_text(f"# a comment\n[127.0.0.1]:{sshd.port} {other}")
    error = await refusal(target(sshd), home.settings())
    assert "HAS CHANGED" in error.message
    assert f"{home.known_hosts} line 2" in error.remedy


async def test_a_known_key_of_another_kind_counts_as_changed(
    sshd: Sshd, home: Home, tmp_path: Path
) -> None:
    write_key(tmp_path / "other", "ecdsa-sha2-nistp256")
    other = (tmp_path / "other.pub").read_text()
    home.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {other}")
    error = await refusal(target(sshd), home.settings())
    assert "HAS CHANGED" in error.message


async def test_revoked_key_is_refused(sshd: Sshd, home: Home) -> None:
    home.know(sshd)
    with home.known_hosts.open("a") as file:
        file.write(f"@revoked * {sshd.public_line}\n")
    error = await refusal(target(sshd), home.settings())
    assert "revoked" in error.message


async def test_lines_that_cannot_be_read_are_passed_over(sshd: Sshd, home: Home) -> None:
    home.known_hosts.write_text("garbage\n|1|x| ssh-ed25519 AAAA\n@what * ssh-rsa A\n")
    home.know(sshd)
    async with opened(target(sshd), home.settings()) as door:
        assert await output(door, "echo hello") == b"hello\n"


async def test_wrong_key_is_one_attempt_and_never_again_by_itself(
    sshd: Sshd, home: Home, tmp_path: Path
) -> None:
    home.know(sshd)
    write_key(tmp_path / "wrong")
    where = target(sshd, key=str(tmp_path / "wrong"), user="root")
    door = SshDoor(where, Dialler(home.settings()))
    before = sshd.log.count("Connection from")
    for _ in range(5):
        with pytest.raises(Refused) as caught:
            await door.connect()
        assert str(tmp_path / "wrong") in caught.value.message
        assert f"root@127.0.0.1:{sshd.port}" in caught.value.message
    assert sshd.log.count("Connection from") - before == 1


async def test_wrong_user_is_refused(sshd: Sshd, home: Home) -> None:
    home.know(sshd)
    error = await refusal(target(sshd, user="nobody-here"), home.settings())
    assert "nobody-here@127.0.0.1" in error.message


async def test_a_new_agent_or_key_is_worth_another_try(
    sshd: Sshd, home: Home, tmp_path: Path
) -> None:
    home.know(sshd)
    write_key(tmp_path / "key")
    door = SshDoor(target(sshd, key=str(tmp_path / "key")), Dialler(home.settings()))
    with pytest.raises(Refused):
        await door.connect()
    (tmp_path / "key").write_bytes(sshd.user_key.read_bytes())
    await door.connect()
    await door.close()


async def test_trusting_a_key_is_worth_another_try(sshd: Sshd, home: Home) -> None:
    door = SshDoor(target(sshd), Dialler(home.settings()))
    with pytest.raises(Refused):
        await door.connect()
    home.know(sshd)
    await door.connect()
    await door.close()


@pytest.fixture
def agent(sshd: Sshd, tmp_path: Path) -> Iterator[str]:
    socket = str(tmp_path / "agent")
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        words = ["ssh-add", str(sshd.user_key)]
        # Its socket is there a moment before it listens.
        while subprocess.run(words, env={"SSH_AUTH_SOCK": socket}, capture_output=True).returncode:
            assert process.poll() is None
        yield socket
    finally:
        process.terminate()
        process.wait()


async def test_logs_in_by_the_ssh_agent(sshd: Sshd, home: Home, agent: str) -> None:
    home.know(sshd)
    async with opened(target(sshd, key=None), home.settings(agent_socket=agent)) as door:
        assert await output(door, "echo $SSH_AUTH_SOCK") == b"\n"


async def test_only_the_named_key_is_offered(
    sshd: Sshd, home: Home, agent: str, tmp_path: Path
) -> None:
    home.know(sshd)
    write_key(tmp_path / "named")
    where = target(sshd, key=str(tmp_path / "named"))
    error = await refusal(where, home.settings(agent_socket=agent))
    assert "agent key" not in error.message


async def test_named_key_with_a_passphrase_is_taken_from_the_agent(
    sshd: Sshd, home: Home, agent: str, tmp_path: Path
) -> None:
    home.know(sshd)
    locked = tmp_path / "locked"
    locked.write_bytes(sshd.user_key.read_bytes())
    locked.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(locked)], check=True)
    where = target(sshd, key=str(locked))
    error = await refusal(where, home.settings(agent_socket=str(tmp_path / "none")))
    assert "passphrase" in error.message
    (tmp_path / "locked.pub").write_bytes(sshd.user_key.with_suffix(".pub").read_bytes())
    async with opened(where, home.settings(agent_socket=agent)) as door:
        assert await output(door, "echo in") == b"in\n"


async def test_a_hanging_agent_does_not_hang_the_login(
    sshd: Sshd, home: Home, tmp_path: Path
) -> None:
    home.know(sshd)
    async with silent(asyncio.start_unix_server, str(tmp_path / "hung")):
        settings = home.settings(agent_socket=str(tmp_path / "hung"))
        async with opened(target(sshd), settings) as door:
            assert await output(door, "echo in") == b"in\n"


async def test_key_files_of_ssh_config_that_do_not_exist_are_passed_over(
    sshd: Sshd, home: Home
) -> None:
    home.know(sshd)
    home.config(
        f"Host box\n HostName 127.0.0.1\n Port {sshd.port}\n User root\n"
        f" IdentityFile ~/.ssh/gone\n IdentityFile {sshd.user_key}\n"
        " RequestTTY force\n RemoteCommand false\n ForwardAgent yes\n ForwardX11Trusted yes\n"
    )
    async with opened(SshTarget("gpu9", address="box"), home.settings()) as door:
        assert door.login == f"root@127.0.0.1:{sshd.port}"
        assert await output(door, "tty; echo $DISPLAY") == b"not a tty\n\n"


async def test_bad_ssh_config_is_named(sshd: Sshd, home: Home) -> None:
    home.config("Host *\n  Port many\n")
    error = await refusal(target(sshd), home.settings())
    assert "line 2" in error.message


async def test_nobody_listens(home: Home) -> None:
    where = SshTarget("gpu1", address="127.0.0.1", port=free_port())
    with pytest.raises(Unreachable, match="refused"):
        async with opened(where, home.settings()):
            pass


async def test_unknown_name(home: Home) -> None:
    where = SshTarget("gpu1", address="no-such-host.invalid")
    with pytest.raises(Unreachable, match="not a known name"):
        async with opened(where, home.settings(connect_timeout=30.0)):
            pass


async def test_silence_before_the_greeting_has_its_own_deadline(home: Home) -> None:
    async with silent(asyncio.start_server, "127.0.0.1", 0) as server:
        where = SshTarget("gpu1", address="127.0.0.1", port=server.sockets[0].getsockname()[1])
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(Unreachable, match="exchanging keys"):
            async with opened(where, home.settings(connect_timeout=3.0)):
                pass
        assert loop.time() - began < 30
