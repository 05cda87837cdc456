"""Kill a writing process at any moment: what it was told is stored is stored, once, in order."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hostler.model.runs import Phase
from hostler.store.database import Store
from hostler.store.logs import LogFile

pytestmark = pytest.mark.programs

_ROUNDS = 12

_LOG_WRITER = """
import random, sys
from pathlib import Path
from hostler.store.logs import LogFile
log = LogFile(Path(sys.argv[1]), 10**9, lambda: None)
print("open", flush=True)
n = log.position.get("n", 0)
while True:
    n += 1
    log.append(b"%08d %s\\n" % (n, b"x" * random.randrange(3000)), {"n": n})
"""

_RUN_WRITER = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from hostler.model.runs import Phase
from hostler.store.database import Store, new_run_id
from tests.support.values.stored import attempt, event, put_attempt, run

async def one(store, lane):
    while True:
        made = run(new_run_id())
        await store.create_run(made, "text", [event(run_id=made.run_id)])
        print("run", made.run_id, flush=True)
        begun = attempt(made.run_id, gpus=(f"GPU-{lane}",))
        await store.add_attempt(begun, event("attempt.placed", run_id=made.run_id))
        print("held", made.run_id, flush=True)
        await put_attempt(
            store,
            replace(begun, phase=Phase.SUCCEEDED), event("attempt.succeeded", run_id=made.run_id)
        )
        print("ended", made.run_id, flush=True)

async def main():
    store = await Store.open(Path(sys.argv[1]))
    for left in await store.open_runs():
        for held in left.attempts:
            if not held.phase.is_final:
                await put_attempt(store, replace(held, phase=Phase.SUCCEEDED))
    print("open", flush=True)
    await asyncio.gather(*(one(store, lane) for lane in range(8)))

asyncio.run(main())
"""


def _killed(code: str, folder: Path, after: float) -> list[str]:
    """Run `code` until `after` seconds past its first line, then SIGKILL; what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
    assert first == "open\n"
    assert process.returncode == -signal.SIGKILL
    lines = rest.split("\n")
    return lines[:-1]  # the last one may be half printed


def test_a_log_has_no_gap_and_no_duplicate_after_kills(tmp_path: Path) -> None:
    dice = random.Random(7)
    path, reached = tmp_path / "a.log", 0
    for _ in range(_ROUNDS):
        _killed(_LOG_WRITER, path, dice.uniform(0.0, 0.08))
        log = LogFile(path, 10**9, lambda: None)
        log.close()
        numbers = [int(line[:8]) for line in path.read_bytes().splitlines()]
        got_to: Any = log.position.get("n", 0)
        assert numbers == list(range(1, got_to + 1))
        assert len(numbers) >= reached
        reached = len(numbers)
    assert reached > 0


async def _check(folder: Path, said: list[str]) -> int:
    store = await Store.open(folder)
    try:
        runs = {run.run_id: run for run in await store.open_runs()}
        kinds: dict[str, list[str]] = {}
        for event in await store.events(limit=10**6):
            kinds.setdefault(event.run_id or "", []).append(event.kind)
        for line in said:
            what, run_id = line.split()
            assert run_id in runs
            if what != "run":
                assert runs[run_id].attempts
            if what == "ended":
                assert runs[run_id].attempts[0].phase is Phase.SUCCEEDED
        order = ["run.submitted", "attempt.placed", "attempt.succeeded"]
        for run in runs.values():
            # A transition and its event are one: there is never one without the other.
            expected = 1 + len(run.attempts) + sum(a.phase.is_final for a in run.attempts)
            got = [kind for kind in kinds[run.run_id] if kind in order]
            assert got == order[: len(got)]
            assert len(got) in (expected, expected - 1)
        return len(runs)
    finally:
        await store.close()


def test_what_was_acknowledged_is_there_after_kills(tmp_path: Path) -> None:
    dice = random.Random(11)
    said: list[str] = []
    folder = tmp_path / "state"
    for _ in range(3):
        said += _killed(_RUN_WRITER, folder, dice.uniform(0.05, 0.4))
        assert asyncio.run(_check(folder, said)) > 0
    assert said
