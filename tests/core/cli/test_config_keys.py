"""Keys of config.toml that say how hosts are reached and where the daemon lives, in real use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hostler.client import Client
from tests.core.cli.test_whole import Shell, shell
from tests.support.daemons.fake_docker import fake_docker
from tests.support.machines.sshd import WHY_NOT, Home, Sshd, can_run

pytestmark = pytest.mark.programs

__all__ = ["shell"]


@pytest.fixture(autouse=True)
def _forked(shell: Shell) -> None:
    """What is shown here is what commands do with a configuration."""
    shell.cold = False


def looked(shell: Shell, config: str) -> dict[str, object]:
    """The one host of a configuration, as `gpus --direct` sees it."""
    (host,) = all_looked(shell, config).values()
    return host


def all_looked(shell: Shell, config: str) -> dict[str, dict[str, object]]:
    """All hosts of a configuration, by their names."""
    (shell.home / "config.toml").write_text(config)
    shell.env["HOSTLER_CONFIG"] = str(shell.home / "config.toml")
    said = shell("gpus", "--direct", "--json")
    assert said.returncode == 0, said.stderr
    return {host["host"]: host for host in json.loads(said.stdout)["hosts"]}


@contextmanager
def server(shell: Shell, name: str, **options: object) -> Iterator[Sshd]:
    """An sshd whose host key this person knows."""
    running = Sshd(shell.home / name, **options).start()  # type: ignore[arg-type]
    Home(shell.home).know(running)
    try:
        yield running
    finally:
        running.stop()


def entry(running: Sshd, more: str = "") -> str:
    return (
        f'[hosts.box]\naddress = "127.0.0.1"\nport = {running.port}\nuser = "root"\n'
        f'key = "{running.user_key}"\n{more}'
    )


needs_sshd = pytest.mark.skipif(not can_run(), reason=WHY_NOT)


def test_transport_local_is_this_machine_without_ssh(shell: Shell) -> None:
    shell.env["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    config = '[hosts.here]\ntransport = "local"\n[hosts.ssh]\naddress = "127.0.0.1"\nport = 1\n'
    hosts = all_looked(shell, config)
    here, by_ssh = hosts["here"], hosts["ssh"]
    assert (here["transport"], here["condition"]) == ("local", "up")
    assert (by_ssh["transport"], by_ssh["condition"]) == ("ssh", "unreachable")


@needs_sshd
def test_address_port_user_and_key_lead_to_the_host(shell: Shell) -> None:
    with server(shell, "sshd") as running:
        config = right = entry(running)
        for wrong, instead in (
            ("address", '"127.0.0.77"'), ("port", "1"), ("user", '"no-such-user"'),
            ("key", '"~/no-such-key"'),
        ):  # fmt: skip
            other = re.sub(f"^{wrong} = .*$", f"{wrong} = {instead}", right, flags=re.MULTILINE)
            assert other != right
            config += other.replace("hosts.box", f"hosts.{wrong}")
        hosts = all_looked(shell, config)
        assert {name: host["condition"] for name, host in hosts.items()} == {
            "box": "up", "address": "unreachable", "port": "unreachable", "user": "refused",
            "key": "refused",
        }  # fmt: skip


@needs_sshd
def test_jump_goes_through_another_host(shell: Shell) -> None:
    with server(shell, "gate") as gate, server(shell, "box") as box:
        ssh = shell.home / ".ssh"
        (ssh / "config").write_text(
            f"Host gate\n HostName 127.0.0.1\n Port {gate.port}\n User root\n"
            f" IdentityFile {gate.user_key}\n IdentitiesOnly yes\n"
        )
        assert looked(shell, entry(box, 'jump = "gate"\n'))["condition"] == "up"
        assert "Accepted publickey" in gate.log
        gate.stop()
        assert looked(shell, entry(box, 'jump = "gate"\n'))["condition"] == "unreachable"


@needs_sshd
def test_python_runs_the_agent(shell: Shell) -> None:
    mine = shell.home / "my-python"
    mine.write_text(f'#!/bin/sh\necho ran > {shell.home}/marker\nexec {sys.executable} "$@"\n')
    mine.chmod(0o755)
    with server(shell, "sshd") as running:
        assert looked(shell, entry(running, f'python = "{mine}"\n'))["condition"] == "up"
    assert (shell.home / "marker").exists()


@needs_sshd
def test_docker_socket_is_the_engine_that_is_asked(shell: Shell) -> None:
    with fake_docker(shell.home / "d.sock") as engine, server(shell, "sshd") as running:
        (shell.home / "config.toml").write_text(
            entry(running, f'docker_socket = "{engine.path}"\n')
        )
        shell.env["HOSTLER_CONFIG"] = str(shell.home / "config.toml")
        checks = json.loads(shell("doctor", "box", "--json").stdout)["checks"]
        docker = next(check for check in checks if check["name"] == "host.docker")
        assert docker["state"] == "ok", docker


@contextmanager
def serving(shell: Shell, *words: str) -> Iterator[None]:
    """`hostler serve` until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hostler", "serve", *words],
        env=shell.env, cwd=shell.home, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "listening on" in line:
                break
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_state_and_socket_are_where_the_daemon_and_its_clients_meet(shell: Shell) -> None:
    file = shell.home / "config.toml"
    file.write_text('[daemon]\nstate = "~/mine"\nsocket = "~/d.sock"\n')
    shell.env["HOSTLER_CONFIG"] = str(file)
    with serving(shell):
        assert (shell.home / "mine/hostler.db").exists()
        assert (shell.home / "d.sock").is_socket()
        assert shell("daemon", "status").returncode == 0
    assert not (shell.home / "~").exists()  # a ~ is the home folder, never a folder of that name


def test_state_of_ones_own_file_is_the_personal_daemons(shell: Shell) -> None:
    own = shell.home / ".config/hostler/config.toml"
    own.parent.mkdir(parents=True)
    own.write_text('[daemon]\nstate = "~/mine"\n')
    del shell.env["HOSTLER_STATE"]
    try:
        started = shell("daemon", "start")
        assert started.returncode == 0, started.stderr
        assert (shell.home / "mine/hostler.sock").is_socket()
        assert not (shell.home / ".local").exists()
        assert str(shell.home / "mine") in shell("config", "show", "--origin").stdout
        states = json.loads(shell("doctor", "--only", "local.state", "--json").stdout)["checks"]
        assert states[0]["message"].startswith(f"{shell.home}/mine")
    finally:
        shell("daemon", "stop")


def test_limits_of_the_source_are_those_of_the_config(shell: Shell) -> None:
    work = shell.home / "work"
    work.mkdir()
    (work / "big.bin").write_bytes(os.urandom(300_000))
    (work / "pipeline.toml").write_text('name = "p"\n[stages.a]\ncommand = "true"\n')
    file = shell.home / "config.toml"
    shell.env["HOSTLER_CONFIG"] = str(file)
    file.write_text('[limits]\nsource_file = "100KiB"\n')
    refused = shell("run", "-d", "work/pipeline.toml")
    assert refused.returncode == 2
    assert "big.bin" in refused.stderr
    file.write_text('[limits]\nsource_size = "100KiB"\n')
    _until_used(shell, "source_size", 102400)
    refused = shell("run", "-d", "work/pipeline.toml")
    assert refused.returncode == 2
    assert "100 KiB" in refused.stderr
    file.write_text("")
    _until_used(shell, "source_size", 256 * 1024**2)
    assert shell("run", "-d", "work/pipeline.toml").returncode == 0


def _until_used(shell: Shell, key: str, value: int) -> None:
    """Wait until the daemon has taken over the changed file."""
    client = Client(str(shell.home / "state/hostler.sock"))
    ends = time.monotonic() + 60
    body = {"pipeline": 'name = "p"\n[stages.a]\ncommand = "true"\n'}
    while getattr(client.check(body), key) != value:
        assert time.monotonic() < ends, f"{key} is not taken over"
        time.sleep(0.1)
