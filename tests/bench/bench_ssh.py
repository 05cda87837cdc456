"""Reaching hosts: cold looks at many, the next poll, memory a host; against bare asyncssh.

    python -m tests.bench.bench_ssh [HOSTS]

Bars (ratios of the same run, 50 names of one sshd): B1 and B20, a cold look at all hosts, whole
process, <= 1.15x a bare asyncssh script that runs the unpacked agent once on each; B2, a look on an
open link, <= 3x an echoed line on an open channel; B3, memory a connected host, <= 2x bare
asyncssh. Needs root and sshd; exits 1 when a bar is missed.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncssh

from hostler.link.agent_link import AgentLink
from hostler.link.agent_start import agent_program
from hostler.link.once import Seen, look_all
from hostler.ssh.connection import Dialler
from hostler.ssh.door import SshDoor
from hostler.ssh.target import SshTarget
from tests.support.machines.sshd import WHY_NOT, Home, Sshd, can_run

ROUNDS = 5
POLLS = 300
ADDRESSES = 16
"""As many as one sshd listens on: at most five logins at a time go to one address."""


def main(hosts: int) -> int:
    """Run all; 1 when a bar is missed."""
    if not can_run():
        print(f"skipped: {WHY_NOT}")
        return 0
    with tempfile.TemporaryDirectory(prefix="hostler-bench-") as name:
        server = Sshd(Path(name) / "sshd")
        more = [f"ListenAddress 127.0.0.{n}:{server.port}" for n in range(2, ADDRESSES + 1)]
        server.options = ("MaxStartups 200:30:400", *more)
        server.start()
        try:
            home = Home(Path(name))
            home.known_hosts.write_text(f"[127.0.0.*]:{server.port} {server.public_line}\n")
            os.environ["HOME"] = name
            held = [
                bench_cold(server, hosts),
                bench_poll(server),
                bench_memory(server, hosts),
            ]
        finally:
            server.stop()
    return 0 if all(held) else 1


def bench_cold(server: Sshd, hosts: int) -> bool:
    """B1, B20: whole processes, in turn."""
    ours: list[float] = []
    bare: list[float] = []
    _timed("ours", server, 1)  # the agent is unpacked
    for _ in range(ROUNDS):
        bare.append(_timed("bare", server, hosts))
        ours.append(_timed("ours", server, hosts))
    return _verdict(f"cold look at {hosts} hosts, s", ours, bare, 1.15, 3)


def bench_poll(server: Sshd) -> bool:
    """B2: a look on an open link against an echoed line on an open channel."""
    ours = asyncio.run(_polls_of_link(server))
    bare = asyncio.run(_polls_of_echo(server))
    return _verdict("next poll, ms", ours, bare, 3.0, 3)


def bench_memory(server: Sshd, hosts: int) -> bool:
    """B3: resident memory for each connected host, with all that is kept of it."""
    ours = [_grown("hold-ours", server, hosts)]
    bare = [_grown("hold-bare", server, hosts)]
    return _verdict("memory a host, KiB", ours, bare, 2.0, 0)


def _verdict(what: str, ours: list[float], bare: list[float], bar: float, digits: int) -> bool:
    mine, theirs = statistics.median(ours), statistics.median(bare)
    held = mine <= bar * theirs
    print(
        f"{what}: {mine:.{digits}f}, bare asyncssh {theirs:.{digits}f}, ratio "
        f"{mine / theirs:.2f} (bar {bar:g}): {'ok' if held else 'MISSED'}",
        flush=True,
    )
    return held


def _run(what: str, server: Sshd, hosts: int) -> str:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    arguments = [what, str(server.port), str(server.user_key), str(hosts)]
    return subprocess.run(
        [sys.executable, "-m", "tests.bench.bench_ssh", *arguments],
        env=env, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip


def _timed(what: str, server: Sshd, hosts: int) -> float:
    began = time.perf_counter()
    _run(what, server, hosts)
    return time.perf_counter() - began


def _grown(what: str, server: Sshd, hosts: int) -> float:
    return float(_run(what, server, hosts).split()[-1])


def _targets(port: int, key: str, hosts: int) -> list[SshTarget]:
    return [
        SshTarget(f"h{n}", address=_address(n), port=port, user="root", key=key)
        for n in range(hosts)
    ]


def _address(number: int) -> str:
    return f"127.0.0.{1 + number % ADDRESSES}"


def _dialler() -> Dialler:
    return Dialler(Home(Path.home()).settings())


async def _polls_of_link(server: Sshd) -> list[float]:
    door = SshDoor(_targets(server.port, str(server.user_key), 1)[0], _dialler())
    link = AgentLink(door, agent_program(), "bench")
    await link.connect()
    await link.look(0.0, 5.0)
    times = await _measured(lambda: link.look(0.0, 5.0))
    await link.close()
    return times


async def _polls_of_echo(server: Sshd) -> list[float]:
    async with await _bare_connect(server.port, str(server.user_key)) as connection:
        process = await connection.create_process("cat", encoding=None)

        async def echo() -> None:
            process.stdin.write(b"line\n")
            await process.stdout.readline()

        times = await _measured(echo)
        process.stdin.write_eof()
        await process.wait()
    return times


async def _measured(poll: Callable[[], Awaitable[object]]) -> list[float]:
    times = []
    for _ in range(POLLS):
        began = time.perf_counter()
        await poll()
        times.append((time.perf_counter() - began) * 1000)
    return times


async def _ours(port: int, key: str, hosts: int) -> None:
    dialler = _dialler()
    doors = [SshDoor(target, dialler) for target in _targets(port, key, hosts)]
    seen = await look_all(doors, agent_program(), deadline=60.0)
    assert all(isinstance(one, Seen) for one in seen.values()), seen


async def _bare(port: int, key: str, hosts: int) -> None:
    command = agent_program().command

    async def one(number: int) -> None:
        async with await _bare_connect(port, key, number) as connection:
            result = await connection.run(command, input='{"mode":"once"}\n', check=True)
            assert isinstance(result.stdout, str)
            assert result.stdout.count("\n") == 3, result.stdout

    await asyncio.gather(*(one(number) for number in range(hosts)))


async def _hold_ours(port: int, key: str, hosts: int) -> float:
    dialler = _dialler()
    doors = [SshDoor(target, dialler) for target in _targets(port, key, hosts + 1)]
    links = [AgentLink(door, agent_program(), f"bench{n}") for n, door in enumerate(doors)]
    await links[0].connect()
    await links[0].look(0.0, 5.0)
    before = _resident()
    for link in links[1:]:
        await link.connect()
        await link.look(0.0, 5.0)
    grown = (_resident() - before) / hosts
    for link in links:
        await link.close()
    return grown


async def _hold_bare(port: int, key: str, hosts: int) -> float:
    connections = [await _bare_connect(port, key)]
    before = _resident()
    for _ in range(hosts):
        connections.append(await _bare_connect(port, key))
        process = await connections[-1].create_process("cat", encoding=None)
        process.stdin.write(b"line\n")
        await process.stdout.readline()
    grown = (_resident() - before) / hosts
    for connection in connections:
        connection.abort()
    return grown


async def _bare_connect(port: int, key: str, number: int = 0) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect(
        _address(number), port, username="root", client_keys=[key],
        known_hosts=str(Path.home() / ".ssh/known_hosts"), agent_path=None, config=[],
    )  # fmt: skip


def _resident() -> float:
    """KiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def child(what: str, port: int, key: str, hosts: int) -> None:
    """One of the processes that are measured."""
    if what == "ours":
        asyncio.run(_ours(port, key, hosts))
    elif what == "bare":
        asyncio.run(_bare(port, key, hosts))
    elif what == "hold-ours":
        print(asyncio.run(_hold_ours(port, key, hosts)))
    else:
        print(asyncio.run(_hold_bare(port, key, hosts)))


if __name__ == "__main__":
    if len(sys.argv) == 5:
        child(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
