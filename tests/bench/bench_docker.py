"""Docker: a stage, eight stages at once, a finished log; each against the plainest client.

    python -m tests.bench.bench_docker

Bars (ratios of the same run): a stage <= 1.15x raw HTTP; eight at once >= 0.9x SDK threads;
a finished log >= 0.8x raw HTTP. Needs root, dockerd and busybox; exits 1 when a bar is missed.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker

from hostler.runtimes.docker.options import container_options
from hostler.runtimes.docker.runtime import DockerRuntime
from tests.core.runtimes.support import MemorySink, make_job, silent
from tests.support.machines.direct_link import DirectLink
from tests.support.machines.dockerd import Dockerd, why_not

_STAGES = 15
_AT_ONCE, _TOGETHER = 8, 24
_LINES = 200_000


class _Raw(http.client.HTTPConnection):
    """`http.client` over a Unix socket, one connection kept open."""

    def __init__(self, path: Path) -> None:
        super().__init__("docker")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = json.dumps(body) if body is not None else None
        self.request(method, path, data, {"Content-Type": "application/json"})
        answer = self.getresponse()
        text = answer.read()
        assert answer.status < 300, text
        return json.loads(text) if text else None


def _raw_stage(raw: _Raw) -> None:
    job = make_job("true")
    ref = raw.call("POST", f"/containers/create?name={job.name}", container_options(job))["Id"]
    raw.call("POST", f"/containers/{ref}/start")
    raw.call("POST", f"/containers/{ref}/wait")
    raw.call("DELETE", f"/containers/{ref}")


async def _our_stage(runtime: DockerRuntime, link: DirectLink) -> None:
    """All that the daemon does of a stage: folders, output, exit code and digest too."""
    job = make_job("true")
    ref = await runtime.create(link, job, silent)
    workload = await runtime.start(link, job, ref)
    await runtime.image_digest(link, ref)
    await runtime.follow(link, workload, MemorySink())
    ended = await runtime.inspect(link, ref)
    assert ended is not None
    assert ended.exit_code == 0
    await runtime.remove(link, ended)


async def bench_stage(engine: Dockerd) -> bool:
    """B4: one container stage."""
    link, runtime, raw = DirectLink(engine.socket), DockerRuntime(Path), _Raw(engine.socket)
    ours, plain = [], []
    for _ in range(_STAGES + 1):
        begin = time.perf_counter()
        _raw_stage(raw)
        middle = time.perf_counter()
        await _our_stage(runtime, link)
        plain.append(middle - begin)
        ours.append(time.perf_counter() - middle)
    raw.close()
    await runtime.close()
    mine, theirs = statistics.median(ours[1:]), statistics.median(plain[1:])
    return _report("B4 stage, ms", mine * 1000, theirs * 1000, mine / theirs, "<=", 1.15)


async def bench_together(engine: Dockerd) -> bool:
    """B5: containers a second, eight at once."""
    link, runtime = DirectLink(engine.socket), DockerRuntime(Path)
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one() -> None:
        async with limit:
            await _our_stage(runtime, link)

    async def ours() -> float:
        begin = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(_TOGETHER)))
        return _TOGETHER / (time.perf_counter() - begin)

    def sdk() -> float:
        begin = time.perf_counter()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda _: _sdk_stage(engine.url), range(_TOGETHER)))
        return _TOGETHER / (time.perf_counter() - begin)

    rates = [(await ours(), await asyncio.to_thread(sdk)) for _ in range(3)]
    await runtime.close()
    mine, theirs = (statistics.median(column) for column in zip(*rates, strict=True))
    return _report("B5 containers/s", mine, theirs, mine / theirs, ">=", 0.9)


def _sdk_stage(url: str) -> None:
    client = docker.APIClient(base_url=url, version="1.45")
    job = make_job("true")
    ref = client.create_container_from_config(container_options(job), job.name)["Id"]
    client.start(ref)
    client.wait(ref)
    client.remove_container(ref)
    client.close()


async def bench_log(engine: Dockerd) -> bool:
    """B6: a finished log of 100-byte lines, its output without Docker's framing."""
    link, runtime = DirectLink(engine.socket), DockerRuntime(Path)
    text = "x" * 99
    job = make_job(f"yes {text} | head -n {_LINES}")
    ref = await runtime.create(link, job, silent)
    workload = await runtime.start(link, job, ref)
    await runtime.follow(link, workload, MemorySink())
    ended = await runtime.inspect(link, ref)
    assert ended is not None

    async def ours() -> float:
        sink = MemorySink()
        begin = time.perf_counter()
        await runtime.follow(link, ended, sink)
        assert len(sink.data) == _LINES * 100
        return time.perf_counter() - begin

    times = [
        (await ours(), _raw_log(engine.socket, ref, 1), _raw_log(engine.socket, ref, 0))
        for _ in range(5)
    ]
    await runtime.remove(link, ended)
    await runtime.close()
    mine, stamped, bare = (statistics.median(column) for column in zip(*times, strict=True))
    size = _LINES * 100 / 1e6
    _report("   (raw with stamps, MB/s)", size / mine, size / stamped, stamped / mine, ">=", 0.8)
    return _report("B6 finished log, MB/s", size / mine, size / bare, bare / mine, ">=", 0.8)


def _raw_log(path: Path, ref: str, stamps: int) -> float:
    raw = _Raw(path)
    begin = time.perf_counter()
    raw.request("GET", f"/containers/{ref}/logs?stdout=1&stderr=1&timestamps={stamps}")
    answer = raw.getresponse()
    while answer.read(256 * 1024):
        pass
    took = time.perf_counter() - begin
    raw.close()
    return took


def _report(what: str, ours: float, other: float, ratio: float, relation: str, bar: float) -> bool:
    held = ratio <= bar if relation == "<=" else ratio >= bar
    verdict = "held" if held else "MISSED"
    print(f"{what:28} ours {ours:8.1f}  other {other:8.1f}  ratio {ratio:5.2f} "
          f"(bar {relation} {bar}) {verdict}", flush=True)  # fmt: skip
    return held


async def main() -> int:
    """Run the benchmarks (or those named on the command line); 1 when a bar was missed."""
    reason = why_not()
    if reason is not None:
        print(f"skipped: {reason}")
        return 0
    benches: dict[str, Callable[[Dockerd], Any]] = {
        "B4": bench_stage, "B5": bench_together, "B6": bench_log,
    }  # fmt: skip
    engine = Dockerd()
    try:
        engine.start()
        engine.load_image()
        wanted = sys.argv[1:] or list(benches)
        held = [await benches[name](engine) for name in wanted]
    finally:
        engine.stop()
    return 0 if all(held) else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
