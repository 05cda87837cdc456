"""Container stages through the daemon, against the plainest client of the same dockerd.

    python -m tests.bench.bench_daemon [NAME ...]

Bars (ratios of the same run, worst of three): B4, a stage of the idle daemon from submit to its
recorded end <= 1.15x create, start, wait and remove by raw HTTP, <= 1.2x where the daemon reaches
the same dockerd through SSH; B5, eight at once >= 0.9x SDK threads; B6, a finished log read through
SSH >= 0.8x raw HTTP on the socket; 200 containers that write a line a second each are followed
without a thread for each and with < 5 % of a core. Needs root, dockerd, busybox and sshd; exits 1
when a bar is missed.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from hostler.client import Client
from hostler.link.agent_link import AgentLink
from hostler.link.agent_start import agent_program
from hostler.runtimes.docker.runtime import DockerRuntime
from hostler.ssh.connection import Dialler
from hostler.ssh.door import SshDoor
from tests.bench.bench_docker import _Raw, _raw_log, _raw_stage, _sdk_stage
from tests.bench.measure import ROUNDS, BenchDesk, cpu_of, run, running, threads_of, verdict, worst
from tests.core.runtimes.support import MemorySink, make_job, silent
from tests.support.machines import dockerd, sshd
from tests.support.machines.dockerd import IMAGE, Dockerd
from tests.support.machines.sshd import Home, Sshd

_STAGES = 8
_AT_ONCE, _TOGETHER = 8, 24
_LINES = 200_000
_FOLLOWED = 200
_MIB_EACH = 40
"""Of a container, with its shim and dockerd's share: a small machine follows fewer, and says so."""
_SETTLED_S, _WATCHED_S = 3.0, 30.0


class Place:
    """A dockerd, an sshd that leads to it, and the two configs."""

    def __init__(self, engine: Dockerd, server: Sshd) -> None:
        self.engine, self.server = engine, server

    def config(self, transport: str) -> str:
        """Of a daemon with this dockerd alone."""
        where = 'transport = "local"'
        if transport == "ssh":
            where = (
                f'address = "127.0.0.1"\nport = {self.server.port}\nuser = "root"\n'
                f'key = "{self.server.user_key}"'
            )
        return (
            f'[docker]\nnetwork = "none"\n[hosts.here]\n{where}\ncpus = 100\n'
            f'docker_socket = "{self.engine.socket}"\n'
        )

    def daemon(self, config: str) -> AbstractContextManager[BenchDesk]:
        """One that runs, and whose agents look at this dockerd."""
        known = self.server.known_line
        return running(config, known_hosts=known, more={"DOCKER_HOST": self.engine.url})


def _pipeline(count: int, command: str = "true") -> str:
    cells = ", ".join(str(n) for n in range(count))
    return (
        f'name = "b"\n[stages.s]\nmatrix = {{ n = [{cells}] }}\nimage = "{IMAGE}"\n'
        f'shell = true\ncommand = """{command}"""\n'
    )


def bench_stage(place: Place) -> int:
    """B4: a stage of the idle daemon, by this machine's socket and through SSH."""
    rounds = [{} for _ in range(ROUNDS)]  # type: list[dict[str, float]]
    raw = _Raw(place.engine.socket)
    for transport in ("local", "ssh"):
        with place.daemon(place.config(transport)) as desk:
            client = desk.client()
            run(client, _pipeline(1))
            for round_ in rounds:
                theirs, ours = [], []
                for _ in range(_STAGES):
                    begun = time.perf_counter()
                    _raw_stage(raw)
                    theirs.append(time.perf_counter() - begun)
                    submitted, ended = run(client, _pipeline(1))
                    ours.append(ended - submitted)
                mine, plain = statistics.median(ours), statistics.median(theirs)
                print(f"{transport}: stage {mine * 1e3:.0f} ms, raw HTTP {plain * 1e3:.0f} ms")
                round_[f"B4 stage, {transport} / raw HTTP"] = mine / plain
    raw.close()
    bars = {"B4 stage, local / raw HTTP": 1.15, "B4 stage, ssh / raw HTTP": 1.2}
    return worst(rounds, bars, at_least=frozenset())


def bench_together(place: Place) -> int:
    """B5: many short containers, eight at once."""
    name = "B5 eight at once / SDK threads"
    rounds = []
    config = place.config("local").replace("cpus = 100", f"cpus = {_AT_ONCE}")
    with place.daemon(config) as desk:
        client = desk.client()
        run(client, _pipeline(_AT_ONCE))
        for _ in range(ROUNDS):
            submitted, ended = run(client, _pipeline(_TOGETHER))
            ours = _TOGETHER / (ended - submitted)
            begun = time.perf_counter()
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(lambda _: _sdk_stage(place.engine.url), range(_TOGETHER)))
            theirs = _TOGETHER / (time.perf_counter() - begun)
            print(f"eight at once: {ours:.1f} stages/s, SDK threads {theirs:.1f}")
            rounds.append({name: ours / theirs})
    return worst(rounds, {name: 0.9}, at_least=frozenset({name}))


def bench_log(place: Place) -> int:
    """B6: a finished log, read through SSH."""
    name = "B6 finished log through SSH / raw HTTP"
    with tempfile.TemporaryDirectory(prefix="hostler-bench-") as home:
        Home(Path(home)).know(place.server)
        ours = asyncio.run(_logs(place, Path(home)))
    rounds = []
    for mine, plain in ours:
        size = _LINES * 100 / 1e6
        print(f"finished log: {size / mine:.1f} MB/s, raw HTTP {size / plain:.1f}")
        rounds.append({name: plain / mine})
    return worst(rounds, {name: 0.8}, at_least=frozenset({name}))


async def _logs(place: Place, home: Path) -> list[tuple[float, float]]:
    target = sshd.target(place.server, docker_socket=str(place.engine.socket))
    door = SshDoor(target, Dialler(Home(home).settings()))
    link, runtime = AgentLink(door, agent_program(), "d" * 32), DockerRuntime(Path)
    await link.connect()
    job = make_job(f"yes {'x' * 99} | head -n {_LINES}")
    ref = await runtime.create(link, job, silent)
    workload = await runtime.start(link, job, ref)
    await runtime.follow(link, workload, MemorySink())
    ended = await runtime.inspect(link, ref)
    assert ended is not None
    times = []
    for _ in range(ROUNDS):
        sink = MemorySink()
        begun = time.perf_counter()
        await runtime.follow(link, ended, sink)
        mine = time.perf_counter() - begun
        assert len(sink.data) == _LINES * 100
        times.append((mine, await asyncio.to_thread(_raw_log, place.engine.socket, ref, 0)))
    await runtime.remove(link, ended)
    await runtime.close()
    await link.close()
    return times


def bench_follow(place: Place) -> int:
    """Many containers that run and write, followed by one daemon."""
    held, count = [], _room_for(_FOLLOWED)
    line = "while :; do echo a line; sleep 1; done"
    config = place.config("local").replace("cpus = 100", f"cpus = {count}")
    with place.daemon(config) as desk:
        client, pid = desk.client(), desk.daemon_pid()
        run(client, _pipeline(1))
        idle = _cpu_share(pid, _SETTLED_S)
        before = threads_of(pid)
        run_id = client.submit({"pipeline": _pipeline(count, line)}).run_id
        _until_running(client, run_id)
        time.sleep(_SETTLED_S)
        share = _cpu_share(pid, _WATCHED_S)
        more = threads_of(pid) - before
        print(f"{count} containers followed (wanted: {_FOLLOWED}): {share:.1f} % of a core, "
              f"{idle:.1f} % before, {more} threads more")  # fmt: skip
        bar = 5.0 * count / _FOLLOWED
        held.append(verdict(f"CPU of the daemon with {count} containers, %", share, bar))
        held.append(verdict("threads for a container", more / count, 0.5))
        client.cancel(run_id)
        client.wait(run_id, timeout=300)
    return int(not all(held))


def _room_for(wanted: int) -> int:
    """As many containers as fit into this machine's free memory, at most `wanted`."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    return max(1, min(wanted, free // 1024 // _MIB_EACH))


def _cpu_share(pid: int, seconds: float) -> float:
    """Percent of a core that a process uses from now on."""
    cpu, begun = cpu_of(pid), time.perf_counter()
    time.sleep(seconds)
    return 100 * (cpu_of(pid) - cpu) / (time.perf_counter() - begun)


def _until_running(client: Client, run_id: str) -> None:
    deadline = time.monotonic() + 300
    while True:
        stages = client.show(run_id).stages
        if all(stage.status == "running" for stage in stages):
            return
        assert time.monotonic() < deadline, [stage.status for stage in stages]
        time.sleep(0.5)


def main(names: list[str]) -> int:
    """Run the benchmarks (or those that are named); 1 when a bar was missed."""
    reason = dockerd.why_not() or (None if sshd.can_run() else sshd.WHY_NOT)
    if reason is not None:
        print(f"skipped: {reason}")
        return 0
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    benches: dict[str, Callable[[Place], int]] = {
        "stage": bench_stage, "together": bench_together, "log": bench_log,
        "follow": bench_follow,
    }  # fmt: skip
    engine = Dockerd()
    with tempfile.TemporaryDirectory(prefix="hostler-bench-") as folder:
        env = f"HOME={folder} HOSTLER_FOLDER={folder}/agent HOSTLER_LEASES={folder}/leases"
        options = (f"SetEnv {env} DOCKER_HOST={engine.url}",)
        server = Sshd(Path(folder) / "sshd", options)
        try:
            engine.start()
            engine.load_image()
            server.start()
            place = Place(engine, server)
            missed = [benches[name](place) for name in names or list(benches)]
            return int(any(missed))
        finally:
            server.stop()
            engine.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
