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
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hostler.client import Client
from tests.bench.measure import ROUNDS, run, running, worst

_INDEPENDENT, _CHAIN, _SLOTS = 200, 100, 2
_STARTS = 15
_BARS = {
    "independent / asyncio": 10.0,
    "chain / independent": 1.5,
    "submit to start / Popen": 5.0,
}


def main() -> int:
    """Measure, print, and say by the exit code whether the bars held."""
    with running(f'[hosts.here]\ntransport = "local"\ncpus = {_SLOTS}\n') as desk:
        client = desk.client()
        _run(client, _independent(_CHAIN))  # a resident daemon is no cold one
        rounds = [_round(client) for _ in range(ROUNDS)]
    return worst(rounds, _BARS, at_least=frozenset())


def _round(client: Client) -> dict[str, float]:
    floor = asyncio.run(_asyncio_spawn(_INDEPENDENT)) / _INDEPENDENT
    durable = statistics.median(_durable() for _ in range(50))
    one = _run(client, _independent(1))
    independent = (_run(client, _independent(_INDEPENDENT)) - one) / (_INDEPENDENT - 1)
    chain = (_run(client, _chain(_CHAIN)) - one) / (_CHAIN - 1)
    popen = statistics.median(_popen_start() for _ in range(_STARTS))
    start = statistics.median(_submit_start(client) for _ in range(_STARTS))
    print(
        f"floor {floor * 1e3:.2f} ms a stage and {durable * 1e3:.2f} a synced write, of which a "
        f"stage makes four in turn; independent {independent * 1e3:.2f}, chain {chain * 1e3:.2f}; "
        f"Popen {popen * 1e3:.1f} ms to start, submit {start * 1e3:.1f}",
        flush=True,
    )
    return {
        "independent / asyncio": independent / floor,
        "chain / independent": chain / independent,
        "submit to start / Popen": start / popen,
    }


def _durable() -> float:
    """Seconds that a small write takes to survive a power cut."""
    with tempfile.TemporaryFile() as file:
        begun = time.perf_counter()
        os.write(file.fileno(), bytes(4096))
        os.fsync(file.fileno())
        return time.perf_counter() - begun


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
    submitted, ended = run(client, pipeline)
    return ended - submitted


def _popen_start() -> float:
    """Seconds until a shell started by Popen has stamped a file."""
    return _stamped(lambda stamp: subprocess.Popen(_stamp_command(stamp)).wait)


def _submit_start(client: Client) -> float:
    """Seconds until a stage submitted to the idle daemon has stamped a file."""

    def start(stamp: Path) -> Callable[[], object]:
        run_id = client.submit({"command": {"command": _stamp_command(stamp)}}).run_id
        return lambda: client.wait(run_id)

    return _stamped(start)


def _stamp_command(stamp: Path) -> list[str]:
    return ["sh", "-c", f"date +%s.%N > {stamp}.new && mv {stamp}.new {stamp}"]


def _stamped(start: Callable[[Path], Callable[[], object]]) -> float:
    """Seconds from `start` to the stamp; what `start` returns waits for the end."""
    stamp = Path(f"/tmp/hostler-bench-{os.getpid()}")
    begun = time.time()
    wait = start(stamp)
    while not stamp.exists():
        time.sleep(0.001)
    took = float(stamp.read_text()) - begun
    stamp.unlink()
    wait()
    return took


if __name__ == "__main__":
    sys.exit(main())
