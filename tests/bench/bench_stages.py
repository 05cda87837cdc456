"""Process stages: what a stage costs beyond its command, and how soon it starts.

    python -m tests.bench.bench_stages

Bars (ratios of the same run, worst of three): 200 independent stages <= 10x asyncio's own spawn,
with every transition durable and every process supervised (B8); a chain <= 1.5x independent ones;
submit to start <= 5x Popen (B9).
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hostler.client import Client
from hostler.quick.socket import Found
from tests.support.desk import Desk, desk_folder

_INDEPENDENT, _CHAIN, _SLOTS = 200, 100, 2
_STARTS = 15
_ROUNDS = 3


def main() -> int:
    """Measure, print, and say by the exit code whether the bars held."""
    with desk_folder() as folder:
        desk = Desk(folder)
        desk.config.write_text(f'[hosts.here]\ntransport = "local"\ncpus = {_SLOTS}\n')
        desk.ok("daemon", "start")
        try:
            client = Client(found=Found(str(desk.state / "hostler.sock"), "flag"), timeout=120)
            _run(client, _independent(4))
            rounds = [_round(client) for _ in range(_ROUNDS)]
        finally:
            desk.close()
    worst = {name: max(r[name] for r in rounds) for name in rounds[0]}
    bars = {
        "independent / asyncio": 10.0,
        "chain / independent": 1.5,
        "submit to start / Popen": 5.0,
    }
    for name, bar in bars.items():
        held = "held" if worst[name] <= bar else "MISSED"
        print(f"{name}: {worst[name]:.2f} (bar {bar}) {held}")
    return int(any(worst[name] > bar for name, bar in bars.items()))


def _round(client: Client) -> dict[str, float]:
    floor = asyncio.run(_asyncio_spawn(_INDEPENDENT)) / _INDEPENDENT
    one = _run(client, _independent(1))
    independent = (_run(client, _independent(_INDEPENDENT)) - one) / (_INDEPENDENT - 1)
    chain = (_run(client, _chain(_CHAIN)) - one) / (_CHAIN - 1)
    popen = statistics.median(_popen_start() for _ in range(_STARTS))
    start = statistics.median(_submit_start(client) for _ in range(_STARTS))
    print(
        f"floor {floor * 1e3:.2f} ms a stage, independent {independent * 1e3:.2f}, "
        f"chain {chain * 1e3:.2f}; Popen {popen * 1e3:.1f} ms to start, submit {start * 1e3:.1f}"
    )
    return {
        "independent / asyncio": independent / floor,
        "chain / independent": chain / independent,
        "submit to start / Popen": start / popen,
    }


async def _asyncio_spawn(count: int) -> float:
    slots = asyncio.Semaphore(_SLOTS)

    async def one() -> None:
        async with slots:
            await (await asyncio.create_subprocess_exec("true")).wait()

    begun = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    return time.perf_counter() - begun


def _independent(count: int) -> str:
    cells = ", ".join(str(n) for n in range(count))
    return f'name = "i"\n[stages.s]\nmatrix = {{ n = [{cells}] }}\ncommand = "true"\n'


def _chain(count: int) -> str:
    stages = "".join(
        f'[stages.s{n}]\ncommand = "true"\n' + (f'needs = ["s{n - 1}"]\n' if n else "")
        for n in range(count)
    )
    return f'name = "c"\n{stages}'


def _run(client: Client, pipeline: str) -> float:
    """Seconds from submitting to the recorded end."""
    begun = time.perf_counter()
    run = client.submit({"pipeline": pipeline})
    for line in client.run_events(run["run_id"], follow=True):
        seen = (line or {}).get("run") or {}
        if seen.get("outcome"):
            assert seen["outcome"] == "succeeded"
    return time.perf_counter() - begun


def _popen_start() -> float:
    """Seconds until a shell started by Popen has stamped a file."""
    return _stamped(lambda stamp: subprocess.Popen(_stamp_command(stamp)))


def _submit_start(client: Client) -> float:
    """Seconds until a stage submitted to the idle daemon has stamped a file."""
    return _stamped(lambda stamp: client.submit({"command": {"command": _stamp_command(stamp)}}))


def _stamp_command(stamp: Path) -> list[str]:
    return ["sh", "-c", f"date +%s.%N > {stamp}.new && mv {stamp}.new {stamp}"]


def _stamped(start: Callable[[Path], object]) -> float:
    stamp = Path(f"/tmp/hostler-bench-{os.getpid()}")
    begun = time.time()
    started = start(stamp)
    while not stamp.exists():
        time.sleep(0.001)
    took = float(stamp.read_text()) - begun
    stamp.unlink()
    if isinstance(started, subprocess.Popen):
        started.wait()
    return took


if __name__ == "__main__":
    sys.exit(main())
