"""The shared daemon of a machine, and people who cannot reach it. NOBODY is in the group nogroup by
the user database, with or without having it in the process; DAEMON is not."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machines.people import Machine, python_for_all

NOBODY, DAEMON, BIN, NOGROUP = 65534, 1, 2, 65534
pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else"),
]


@pytest.fixture
def machine() -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="hs-"))
    folder.chmod(0o755)
    try:
        yield Machine(folder)
    finally:
        shutil.rmtree(folder)


def closed_folder(machine: Machine) -> Path:
    folder = machine.socket.parent
    folder.mkdir()
    os.chown(folder, 0, NOGROUP)
    folder.chmod(0o2750)
    return folder


def left_over(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
    path.chmod(0o666)


def test_without_a_shared_daemon_nothing_is_said_of_one(machine: Machine) -> None:
    said = machine.hostler(DAEMON, "ps")
    assert said.err.splitlines()[0] == "starting your daemon"
    machine.config.write_text('[hosts.gpu1]\n[daemon]\nlook_interval = "5s"\n')
    assert machine.hostler(DAEMON, "ps").err.splitlines()[0] == "starting your daemon"


def test_who_is_not_in_the_group_is_told_that_the_daemon_is_another(machine: Machine) -> None:
    left_over(closed_folder(machine) / "hostler.sock")
    first, second, *_ = machine.hostler(DAEMON, "ps").err.splitlines()
    assert first == (
        f"the shared daemon of this machine ({machine.socket}) is for the group nogroup, "
        "and you "
        "are not in it: this is a daemon of your own. To use the shared one, ask for: "
        "sudo usermod -aG nogroup daemon (and log in again)"
    )
    assert second == "starting your daemon"
    assert machine.origin(DAEMON) == "personal"
    assert "nogroup" in machine.hostler(DAEMON, "daemon", "status").out


def test_a_member_whose_login_is_older_gets_no_daemon_of_their_own(machine: Machine) -> None:
    left_over(closed_folder(machine) / "hostler.sock")
    said = machine.hostler(NOBODY, "ps", gid=54000)
    assert said.code == 5
    assert "starting" not in said.err
    assert f"no access to the daemon at {machine.socket}" in said.err
    assert "log in again, or `newgrp nogroup`" in said.err


def test_a_member_is_told_that_it_does_not_run(machine: Machine) -> None:
    closed_folder(machine)
    machine.config.write_text('[daemon]\ngroup = "nogroup"\n')
    said = machine.hostler(NOBODY, "ps", gid=NOGROUP)
    assert said.code == 5
    assert f"the daemon at {machine.socket} is not running" in said.err
    assert "systemctl status hostler" in said.err
    assert machine.origin(NOBODY, gid=NOGROUP) == "system"


@pytest.mark.parametrize("key", ["allow", "operators"])
def test_so_is_who_is_named_and_who_is_not_gets_a_hint(machine: Machine, key: str) -> None:
    machine.config.write_text(f'[daemon]\n{key} = ["nobody"]\n')
    assert "is not running" in machine.hostler(NOBODY, "ps").err
    said = machine.hostler(DAEMON, "ps").err
    assert "is for others, and not you" in said
    assert "ask for: `daemon` under [daemon] allow" in said


def test_its_own_login_and_root_mean_the_shared_one(machine: Machine) -> None:
    machine.config.write_text('[daemon]\ngroup = "root"\n')
    assert machine.origin(DAEMON) == "personal"
    os.chown(closed_folder(machine), DAEMON, NOGROUP)
    assert machine.origin(DAEMON) == "system"
    assert machine.origin(0) == "system"


def test_a_config_of_ones_own_decides_alone(machine: Machine) -> None:
    """As HOSTLER_CONFIG says: what the system's file shares is not read."""
    machine.config.write_text('[daemon]\ngroup = "nogroup"\n')
    own = machine.folder / "own.toml"
    own.touch()
    said = machine.hostler(NOBODY, "ps", gid=NOGROUP, HOSTLER_CONFIG=str(own))
    assert said.err.splitlines()[0] == "starting your daemon"


def test_a_socket_that_the_owner_keeps_to_themself_names_the_owner(machine: Machine) -> None:
    folder = closed_folder(machine)
    folder.chmod(0o755)
    left_over(machine.socket)
    machine.socket.chmod(0o600)
    said = machine.hostler(NOBODY, "ps")
    assert said.code == 5
    assert "Ask root to let nobody in: `group` or `allow` under [daemon]" in said.err


ANSWER = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
import os
os.chmod(sys.argv[1], 0o660)
s.listen()
print("ready", flush=True)
body = b'{"version": "999.0", "api": 1, "pid": 1, "started_at": 0}'
while True:
    peer, _ = s.accept()
    said = peer.recv(1000)
    if not said:
        print("told nothing", flush=True)
    peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
    peer.close()
"""


@contextlib.contextmanager
def answering(machine: Machine, uid: int) -> Iterator[subprocess.Popen[str]]:
    """A program of that user listens where the shared daemon would, in the group's folder."""
    program = subprocess.Popen(
        [python_for_all(), "-I", "-c", ANSWER, str(machine.socket)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        user=uid, group=uid, extra_groups=[NOGROUP],
    )  # fmt: skip
    assert program.stdout is not None
    try:
        assert program.stdout.readline() == "ready\n"
        yield program
    finally:
        program.terminate()
        program.wait(30)
        program.stdout.close()


def test_members_trust_the_login_that_root_gave_the_folder_to(machine: Machine) -> None:
    os.chown(closed_folder(machine), DAEMON, NOGROUP)
    machine.socket.parent.chmod(0o2750)
    with answering(machine, DAEMON):
        said = machine.hostler(NOBODY, "daemon", "status", gid=NOGROUP)
    assert said.code == 0, said
    assert "version 999.0" in said.out


@pytest.mark.parametrize("named", [False, True])
def test_a_folder_that_members_may_write_to_is_not_trusted(machine: Machine, named: bool) -> None:
    """Any of them could have put the socket there: here `bin` did."""
    folder = closed_folder(machine)
    os.chown(folder, DAEMON, NOGROUP)
    folder.chmod(0o2770)
    if named:
        machine.config.write_text(f'[daemon]\nsocket = "{machine.socket}"\n')
    with answering(machine, BIN) as program:
        said = machine.hostler(NOBODY, "ps", gid=NOGROUP)
        assert program.stdout is not None
        assert program.stdout.readline() == "told nothing\n"
    assert said.code == 5, said
    assert f"is not trusted: uid {BIN} listens there, and other users may write to" in said.err


def test_scripts_get_no_hint(machine: Machine) -> None:
    left_over(closed_folder(machine) / "hostler.sock")
    assert "shared" not in machine.hostler(DAEMON, "ps", "-q").err
