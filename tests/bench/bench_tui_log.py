"""A log of a million lines on the screen, of a stage that goes on writing 1,000 lines a second.

In a pseudo terminal of 160x45, from a daemon whose process runtime ran the stage. Floors of the
same run: reading the same bytes from a file and searching them with `re`.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

from tests.bench.measure import ROUNDS, BenchDesk, running, worst
from tests.support.programs.terminal import Terminal

LINES = 1_000_000
WRITER = """
import sys, time
line = "12:04:16 INFO step=%07d loss=1.7298 lr=2.1e-5 tok/s=411k gnorm=0.39 mem=70.6GiB rank=0 " \\
       "host=gpu-01 epoch=3 of 100 eta 1h35m xxxxxxx\\n"
for n in range(1000000):
    sys.stdout.write(line % n)
n = 1000000
while True:
    for n in range(n, n + 100):
        sys.stdout.write(line % n)
    n += 1
    sys.stdout.flush()
    time.sleep(0.1)
"""
SETTLE_S, WATCH_S = 3.0, 10.0

BARS = {
    "open, s": 0.5,
    "whole log / reading its file": 40,
    "follow 1,000 lines/s, % of a core": 15,
    "find the last match, s": 0.5,
    "find the only match, at the start / re": 6,
    "memory, MB": 100,
}


def main() -> int:
    """Print the figures; 1 when a bar is missed."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.pop("NO_COLOR", None)
    with running('[hosts.here]\ntransport = "local"\ncpus = 2\n') as desk:
        writer = desk.home / "writer.py"
        writer.write_text(WRITER)
        pipeline = f'name = "log"\n[stages.big]\ncommand = ["{sys.executable}", "{writer}"]\n'
        run_id = str(desk.client().submit({"pipeline": pipeline}).run_id)
        _wait_for_lines(desk, run_id)
        try:
            rounds = [_round(desk, run_id) for _ in range(ROUNDS)]
        finally:
            desk.client().cancel(run_id)
            desk.client().wait(run_id, timeout=60)
    return worst(rounds, BARS, at_least=frozenset())


def _wait_for_lines(desk: BenchDesk, run_id: str) -> None:
    """Until the daemon has the million lines."""
    ends = time.monotonic() + 120
    while True:
        started = desk.client().show(run_id).stages[0].attempt
        tail = b"".join(desk.client().logs(run_id, "big", tail=1)) if started else b""
        found = re.search(rb"step=(\d+)", tail)
        if found and int(found[1]) > LINES:
            return
        assert time.monotonic() < ends, ("the stage does not write", tail)
        time.sleep(0.2)


def _round(desk: BenchDesk, run_id: str) -> dict[str, float]:
    """All figures once."""
    env = {"HOSTLER_SOCKET": str(desk.state / "hostler.sock"), "TMUX": "",
           "XDG_CACHE_HOME": str(desk.home / "cache")}  # fmt: skip
    argv = [sys.executable, "-m", "tests.bench.tui_log_program", run_id, "big"]
    with Terminal(argv, env=env, columns=160, rows=45) as terminal:
        terminal.wait_for(b"press any key")
        opened, whole = _open(terminal)
        time.sleep(SETTLE_S)
        cpu, begun = terminal.cpu(), time.monotonic()
        time.sleep(WATCH_S)
        follow = 100 * (terminal.cpu() - cpu) / (time.monotonic() - begun)
        last = _find(terminal, LINES - 1)
        only = _find(terminal, 7)
        memory = terminal.memory() / 1e6
    floor = _floor(desk)
    print(f"open {opened:.2f} s, whole {whole:.2f} s, follow {follow:.1f} %, last match {last:.3f} "
          f"s, only match {only:.3f} s, {memory:.0f} MB; floor: read {floor[0]:.2f} s, search "
          f"{floor[1]:.3f} s", flush=True)  # fmt: skip
    figures = (opened, whole / floor[0], follow, last, only / floor[1], memory)
    return dict(zip(BARS, figures, strict=True))


def _open(terminal: Terminal) -> tuple[float, float]:
    """Seconds from the key that opens the log to its last lines, and to all of it."""
    count, begun = terminal.count, time.monotonic()
    terminal.send(b"o")
    opened = terminal.wait_for(b"INFO step=", after=count) - begun
    while not re.search(rb"1,\d{3},\d{3} lines", terminal.output[count:]):
        assert time.monotonic() - begun < 60, "the log does not come"
        time.sleep(0.02)
    return opened, time.monotonic() - begun


def _find(terminal: Terminal, step: int) -> float:
    """Seconds from Enter after a search at the end of the log until the cursor is on the line."""
    terminal.send(b"\x1b[F/step=%07d" % step)
    time.sleep(1.0)
    count, begun = terminal.count, time.monotonic()
    terminal.send(b"\r")
    found = terminal.wait_for(f"line {step + 1:,} of".encode(), after=count)
    terminal.send(b"\x1b")
    time.sleep(0.5)
    return found - begun


def _floor(desk: BenchDesk) -> tuple[float, float]:
    """Seconds to read the log's file, and to search it."""
    (path,) = (Path(desk.state) / "logs").glob("*/*.log")
    begun = time.perf_counter()
    data = path.read_bytes()
    read = time.perf_counter()
    re.search(rb"step=no", data)
    return read - begun, time.perf_counter() - read


if __name__ == "__main__":
    sys.exit(main())
