"""`hostler gpus` on a running daemon, whole process, against a minimal Python socket client.

    python -m tests.bench.bench_quick

The peer reads length-prefixed JSON from a Unix socket and prints the same table: 50 hosts with 8
GPUs each. Bars (ratios of the same run): B19, the answer <= 1.6x the peer; `--need` and `--json`
<= 2.2x (they parse arguments); completing a word <= 3x. Exits 1 when a bar is missed.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.figures import WARM, note
from tests.support.daemons.scripted_daemon import scripted_daemon
from tests.support.values.fleets import fleet, host

ROUNDS = 21
HOSTS = 50

PEER = """
import json, socket, sys
LETTERS = {"free": ".", "leased": "L", "foreign": "F", "unknown": "?"}
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
size = int.from_bytes(connection.recv(4), "big")
data = b""
while len(data) < size:
    data += connection.recv(262144)
rows = []
for host in json.loads(data)["hosts"]:
    gpus = host["gpus"]
    free = [gpu for gpu in gpus if gpu["state"] == "free"]
    spare = f"{len(free)} x {(free[0]['memory_total'] - free[0]['memory_used']) / 2**30:.1f}GiB"
    owners = " ".join(dict.fromkeys(o for gpu in gpus for o in gpu["owners"]))
    rows.append((host["host"], gpus[0]["model"], "".join(LETTERS[g["state"]] for g in gpus),
                 f"{len(free)}/{len(gpus)}", spare, owners, f"{host['age_s']:.0f}s"))
widths = [max(map(len, column)) for column in zip(*rows)]
for row in rows:
    print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)))
"""


def main() -> int:
    """Measure all in turn; 1 when a bar is missed."""
    whole = fleet(*(host(f"gpu-{n:02}", "..LLLLF.") for n in range(HOSTS)))
    with scripted_daemon() as daemon, tempfile.TemporaryDirectory() as folder:
        daemon.on("GET", "/v1/gpus", whole)
        script = Path(folder, "peer.py")
        script.write_text(PEER)
        with length_prefixed(Path(folder, "peer.sock"), json.dumps(whole).encode()) as path:
            peer = [sys.executable, str(script), str(path)]
            env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
            env |= {"HOSTLER_SOCKET": str(daemon.path)}
            held = [
                compare("B19 hostler gpus", [*ours(), "gpus"], peer, env, 1.6),
                compare("hostler gpus --json", [*ours(), "gpus", "--json"], peer, env, 2.2),
                compare("hostler gpus --need", [*ours(), "gpus", "--need", "2"], peer, env, 2.2),
                compare("completion", [*ours(), "__complete", "logs", "--"], peer, env, 3.0),
            ]
    return 0 if all(held) else 1


def ours() -> list[str]:
    """The installed program; without one, the module."""
    program = shutil.which("hostler", path=str(Path(sys.executable).parent))
    return [program] if program else [sys.executable, "-m", "hostler"]


def compare(
    what: str, command: list[str], peer: list[str], env: dict[str, str], bar: float
) -> bool:
    """Both in turn, medians; whether the bar holds."""
    mine, theirs = [], []
    timed(command, env)
    timed(peer, env)
    for _ in range(ROUNDS):
        theirs.append(timed(peer, env))
        mine.append(timed(command, env))
    a, b = statistics.median(mine), statistics.median(theirs)
    held = a <= bar * b
    if command[-1] == "gpus":
        note(WARM, f"median {a * 1000:.0f} ms, worst {max(mine) * 1000:.0f} ms", "make bench")
    print(
        f"{what}: {a * 1000:.1f} ms, minimal client {b * 1000:.1f} ms, ratio {a / b:.2f} "
        f"(bar {bar:g}): {'ok' if held else 'MISSED'}",
        flush=True,
    )
    return held


def timed(command: list[str], env: dict[str, str]) -> float:
    """Seconds of one whole process."""
    began = time.perf_counter()
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


@contextmanager
def length_prefixed(path: Path, data: bytes) -> Iterator[Path]:
    """A server that sends the same bytes to everybody, their length first."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(8)

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(len(data).to_bytes(4, "big") + data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield path
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


if __name__ == "__main__":
    sys.exit(main())
