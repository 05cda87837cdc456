"""Threads for blocking calls: results, errors, limits, and an end that waits for nothing."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hostler.runtimes.docker.engine import Threads


async def test_results_and_errors_come_back() -> None:
    threads = Threads(2, "test")
    assert await threads.run(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    threads.close()


async def test_threads_are_few_and_reused() -> None:
    threads, gate, names = Threads(3, "few"), threading.Event(), set[str]()

    def call() -> None:
        names.add(threading.current_thread().name)
        gate.wait(60)

    for _ in range(5):
        await threads.run(lambda: None)
    tasks = [asyncio.create_task(threads.run(call)) for _ in range(10)]
    async with asyncio.timeout(60):
        while len(names) < 3:
            await asyncio.sleep(0.005)
    tasks[-1].cancel()
    gate.set()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert names == {"few-1", "few-2", "few-3"}
    assert [type(each) for each in done[-2:]] == [type(None), asyncio.CancelledError]
    threads.close()
    deadline = time.monotonic() + 60
    while any(thread.name.startswith("few-") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


_PROGRAM = """
import asyncio, sys
from pathlib import Path
from hostler.runtimes.docker.runtime import DockerRuntime
from tests.support.machines.direct_link import DirectLink

async def main():
    task = asyncio.create_task(DockerRuntime(Path).inspect(DirectLink(Path(sys.argv[1])), "x"))
    await asyncio.to_thread(sys.stdin.readline)
    task.cancel()

asyncio.run(main())
"""


@pytest.mark.programs
def test_a_docker_that_hangs_does_not_hold_the_process(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        server.settimeout(60)
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(tmp_path / "s")],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            env={"PYTHONPATH": "core:."},
        )  # fmt: skip
        assert process.stdin is not None
        connection, _ = server.accept()
        with connection, process.stdin:
            process.stdin.write(b"go\n")
            process.stdin.flush()
            assert process.wait(60) == 0
