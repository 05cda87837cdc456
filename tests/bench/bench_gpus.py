"""`hostler gpus` without a daemon: whole processes, cold, against a bare asyncssh script.

    python -m tests.bench.bench_gpus [HOSTS]

Bars (ratios of the same run, worst of three, names of one sshd): B20, all hosts <= 1.15x the bare
script that runs the unpacked agent once on each; with 3 of 20 hosts dead, the others are shown as
before and it takes no longer than the deadline for those that do not answer. Needs root and sshd;
exits 1 when a bar is missed.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.bench_ssh import ADDRESSES, _address, _timed
from tests.bench.measure import ROUNDS, BenchDesk, verdict, worst
from tests.chaos.figures import COLD, DEAD, note
from tests.support.machines.sshd import WHY_NOT, Home, Sshd, can_run

_EACH = 3
_SOME, _DEAD = 20, 3
_DEADLINE_S = 3.0
_PATIENT = """
import sys
from hostler.cli import main
from hostler.cli.commands import gpus
gpus.DIRECT_DEADLINE = {}
sys.exit(main())
"""
"""The command with a longer deadline: one sshd that plays fifty hosts is slower than they are."""
_SILENT = "127.0.1.1"
"""Where connections are taken and nothing is ever said."""


def main(hosts: int) -> int:
    """Run both; 1 when a bar is missed."""
    if not can_run():
        print(f"skipped: {WHY_NOT}")
        return 0
    with tempfile.TemporaryDirectory(prefix="hostler-bench-", dir="/tmp") as name:
        server = Sshd(Path(name) / "sshd")
        more = [f"ListenAddress 127.0.0.{n}:{server.port}" for n in range(2, ADDRESSES + 1)]
        server.options = ("MaxStartups 200:30:400", *more)
        server.start()
        try:
            desk = BenchDesk(Path(name))
            home = Home(Path(name))
            home.known_hosts.write_text(f"[127.0.0.*]:{server.port} {server.public_line}\n")
            os.environ["HOME"] = name  # of the bare script
            return bench_all(desk, server, hosts) | bench_dead(desk, server)
        finally:
            server.stop()


def bench_all(desk: BenchDesk, server: Sshd, hosts: int) -> int:
    """B20: every host answers."""
    name = f"B20 hostler gpus, {hosts} hosts / bare asyncssh"
    _configure(desk, server, [_address(0)])
    _look(desk, 1)  # the agent is unpacked
    _configure(desk, server, [_address(n) for n in range(hosts)])
    rounds, slowest = [], 0.0
    for _ in range(ROUNDS):
        bare, ours = [], []
        for _ in range(_EACH):
            bare.append(_timed("bare", server, hosts))
            ours.append(_look(desk, hosts)[0])
        mine, theirs = statistics.median(ours), statistics.median(bare)
        print(f"{hosts} hosts: hostler gpus {mine:.2f} s, bare asyncssh {theirs:.2f} s")
        rounds.append({name: mine / theirs})
        slowest = max(slowest, mine)
    note(COLD, f"{slowest:.2f} s for {hosts} hosts, all played by one sshd", "make bench")
    return worst(rounds, {name: 1.15}, at_least=frozenset())


def bench_dead(desk: BenchDesk, server: Sshd) -> int:
    """Hosts that never answer: what the others show, and how long it takes in all."""
    living = [_address(n) for n in range(_SOME - _DEAD)]
    _configure(desk, server, living)
    alive, before = _look(desk, len(living))
    _configure(desk, server, [*living, *[_SILENT] * _DEAD])
    rounds = []
    with socket.create_server((_SILENT, server.port)):
        for _ in range(ROUNDS):
            took, shown = _look(desk, len(living), _DEADLINE_S)
            assert _of(shown, len(living)) == _of(before, len(living))
            rounds.append(took)
    print(f"{_DEAD} of {_SOME} hosts dead: {max(rounds):.2f} s, without them {alive:.2f} s")
    note(DEAD, f"{max(rounds):.2f} s, the other {len(living)} as without them", "make bench")
    return int(not verdict("dead hosts: seconds over the deadline", max(rounds) - _DEADLINE_S, 1.0))


def _of(shown: dict[str, Any], count: int) -> list[tuple[str, str, int]]:
    return [(h["host"], h["condition"], len(h["gpus"])) for h in shown["hosts"][:count]]


def _configure(desk: BenchDesk, server: Sshd, addresses: Sequence[str]) -> None:
    desk.config.write_text(
        "".join(
            f'[hosts.h{n}]\naddress = "{address}"\nport = {server.port}\nuser = "root"\n'
            f'key = "{server.user_key}"\n'
            for n, address in enumerate(addresses)
        )
    )


def _look(desk: BenchDesk, up: int, deadline: float = 60.0) -> tuple[float, dict[str, Any]]:
    """Seconds of the whole process, and what it showed; so many hosts have to be up."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _PATIENT.format(deadline), "gpus", "--json"],
        capture_output=True, text=True, env=desk.env, check=False,
    )  # fmt: skip
    took = time.perf_counter() - begun
    shown: dict[str, Any] = json.loads(done.stdout)
    assert shown["source"] == "direct", shown
    late = [h["problem"] for h in shown["hosts"] if h["condition"] != "up"]
    if len(shown["hosts"]) - len(late) != up:
        sys.exit(f"not every host of one sshd answers here in time: {set(late)}")
    return took, shown


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
