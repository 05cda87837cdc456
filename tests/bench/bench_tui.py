"""The screen with 50 hosts of 8 GPUs whose values all change twice a second, at 160x45 in a pty.

Floor: a hello-world app of the same library; peer: the same rows in its own DataTable.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hostler.sim import demo_lab
from hostler_tui import cache
from tests.bench.measure import ROUNDS, verdict
from tests.support.programs.simserved import SimServed, sim_served
from tests.support.programs.terminal import Terminal

SIZE = {"columns": 160, "rows": 45}
SETTLE_S, WATCH_S, KEYS = 4.0, 12.0, 30
NOBODY = "nobody.sock"
"""Where no daemon answers."""
DOWN, UP = b"\x1b[B", b"\x1b[A"


def program(name: str, lab: SimServed | None, folder: Path) -> Terminal:
    """One of tui_programs in a terminal."""
    socket = lab.socket if lab else folder / NOBODY
    env = {"HOSTLER_SOCKET": str(socket), "LAG_FILE": str(folder / "lags"),
           "XDG_CACHE_HOME": str(folder / "cache"), "TMUX": ""}  # fmt: skip
    argv = [sys.executable, "-m", "tests.bench.tui_programs", name]
    return Terminal(argv, env=env, **SIZE)


def watched(terminal: Terminal) -> tuple[float, float]:
    """CPU in % of a core, and kB/s to the terminal, once it has settled."""
    time.sleep(SETTLE_S)
    cpu, count, begun = terminal.cpu(), terminal.count, time.monotonic()
    time.sleep(WATCH_S)
    spent = time.monotonic() - begun
    return 100 * (terminal.cpu() - cpu) / spent, (terminal.count - count) / spent / 1000


def key_times(terminal: Terminal) -> list[float]:
    """Milliseconds from a key, pressed at random moments, to the cursor's new row."""
    chance, times = random.Random(7), []
    for number in range(KEYS):
        time.sleep(chance.uniform(0.1, 0.5))
        count, begun = terminal.count, time.monotonic()
        terminal.send(DOWN if number % 20 < 10 else UP)
        times.append(1000 * (terminal.wait_for(b">", after=count) - begun))
    return times


def first_paint(name: str, text: bytes, lab: SimServed | None, folder: Path) -> float:
    """Seconds from the start of the process to a text of its first picture; median of 7."""
    times = []
    for _ in range(7):
        with program(name, lab, folder) as terminal:
            times.append(terminal.wait_for(text) - terminal.begun)
    return statistics.median(times)


def idle_cpu(folder: Path) -> float:
    """% of a core of the product when nothing comes: its daemon is away."""
    with program("product", None, folder) as terminal:
        terminal.wait_for(b"gpu-01")
        time.sleep(SETTLE_S)
        cpu, begun = terminal.cpu(), time.monotonic()
        time.sleep(WATCH_S)
        return 100 * (terminal.cpu() - cpu) / (time.monotonic() - begun)


def lag_p99(folder: Path) -> float:
    """Milliseconds of the metered run's timer, its first seconds left out."""
    lags: list[float] = json.loads((folder / "lags").read_text())[200:]
    return 1000 * sorted(lags)[int(len(lags) * 0.99)]


@contextmanager
def desk() -> Iterator[tuple[SimServed, Path]]:
    """A served lab, and a folder with a first picture in its cache."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make = partial(demo_lab, hosts=50, gpus=8)
        with sim_served(folder, make, look_interval=0.5) as lab:
            for socket in (lab.socket, folder / NOBODY):
                seen = cache.path(str(socket), {"XDG_CACHE_HOME": str(folder / "cache")})
                cache.save(lab.client().gpus(), seen)
            yield lab, folder


def round_(lab: SimServed, folder: Path) -> dict[str, float]:
    """All figures once."""
    with program("product", lab, folder) as terminal:
        terminal.wait_for(b"gpu-01")
        cpu, rate = watched(terminal)
        keys = key_times(terminal)
    with program("metered", lab, folder) as terminal:
        watched(terminal)
    with program("peer", lab, folder) as terminal:
        terminal.wait_for(b"gpu-01")
        peer_cpu, peer_rate = watched(terminal)
    lag = lag_p99(folder)
    p95 = sorted(keys)[int(len(keys) * 0.95)]
    hello = first_paint("hello", b"hello, world", None, folder)
    paint = first_paint("product", b"gpu-01", lab, folder)
    print(f"CPU {cpu:.1f} % (DataTable {peer_cpu:.1f}), {rate:.1f} kB/s (DataTable "
          f"{peer_rate:.1f}), key p95 {p95:.1f} ms, lag p99 {lag:.1f} ms, first paint "
          f"{1000 * paint:.0f} ms (hello {1000 * hello:.0f})", flush=True)  # fmt: skip
    return {"CPU, % of a core": cpu, "kB/s to the terminal": rate, "key p95, ms": p95,
            "loop lag p99, ms": lag, "first paint / hello world": paint / hello,
            "CPU / DataTable": cpu / peer_cpu, "idle CPU, %": idle_cpu(folder)}  # fmt: skip


BARS = {"CPU, % of a core": 5, "kB/s to the terminal": 35, "key p95, ms": 30,
        "loop lag p99, ms": 10, "first paint / hello world": 1.7, "CPU / DataTable": 1,
        "idle CPU, %": 1}  # fmt: skip


def main() -> int:
    """Print the figures; 1 when a bar is missed."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.pop("NO_COLOR", None)
    with desk() as (lab, folder):
        rounds = [round_(lab, folder) for _ in range(ROUNDS)]
    held = [verdict(name, max(r[name] for r in rounds), bar) for name, bar in BARS.items()]
    return int(not all(held))


if __name__ == "__main__":
    sys.exit(main())
