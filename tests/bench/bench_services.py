"""Services behind the gateway, under load: releases, a dead replica, a gap, the way through it.

    python -m tests.bench.bench_services

Bars: releases and rollbacks at 300 requests/s with streams, one of them while the daemon is killed
every second: 0 failed of >= 10,000, no stream cut, no request before a good check; p99 <= 2x the
steady one of the same run, without the kills. A replica that was killed gets nothing after two
checks + 0.2 s. Through the gateway: p50 of the direct way + 1 ms. With `recreate` on a full pool
nobody answers for the command's own start + 3 s, and its GPU is nobody else's. Needs HAProxy and
gcc (simulated GPU); exits 1 when a bar is missed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hostler.gateway.states import read_servers
from tests.bench.measure import BenchDesk, running, verdict
from tests.support.machines import haproxy
from tests.support.machines.desk import stage, wait_until
from tests.support.programs import load
from tests.support.programs.fake_nvml import FakeNvml, build
from tests.support.programs.load import Report, begun

RATE, STREAMS, ENOUGH = 300.0, 2, 10_000
STEADY_S, DIRECT_S, ROUNDS = 15.0, 4.0, 3
CHECK_S = 1.0
"""Between two of the gateway's checks, by the file below."""
LOADS_S = 2.0
SERVICE = """
name = "NAME"
[stages.serve]
kind = "service"
command = ["python3", "-S", "replica.py"]
health = { path = "/health", every = "1s" }
startup = "60s"
drain = "20s"
replicas = COUNT
env = { VERSION = "1", LOADS = "SECONDS" }
resources = { cpus = 0.1, gpus = GPUS }
"""
REPLICA = Path(load.__file__).with_name("replica.py")


class Bench:
    """Somebody with this machine, a gateway and one simulated GPU."""

    def __init__(self, desk: BenchDesk, port: int) -> None:
        self.desk, self.port = desk, port
        self.held: list[bool] = []

    def deploy(self, name: str, *, count: int = 2, loads: float = 0.5, gpus: int = 0) -> None:
        """The first release of a service."""
        folder = self.desk.work / name
        folder.mkdir()
        shutil.copy(REPLICA, folder / "replica.py")
        values = {"NAME": name, "COUNT": count, "SECONDS": loads, "GPUS": gpus}
        text = SERVICE
        for word, value in values.items():
            text = text.replace(word, str(value))
        (folder / "pipeline.toml").write_text(text)
        self.desk.ok("deploy", "-y", str(folder), timeout=120)
        wait_until(lambda: self._answers(name), f"{name} answers", 30)

    def release(self, name: str, version: int, *words: str) -> None:
        """Another release of it."""
        env = ("--env", f"VERSION={version}")
        self.desk.ok("deploy", "-y", *env, *words, str(self.desk.work / name), timeout=180)

    def _answers(self, name: str) -> bool:
        with suppress(OSError):
            url = f"http://127.0.0.1:{self.port}/{name}/"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        return False

    def replicas(self) -> list[dict[str, Any]]:
        """Those that are ready."""
        found = self.desk.ok("services", "--json").json["services"]
        return [r for service in found for r in service["replicas"] if r["state"] == "ready"]

    def judge(self, what: str, figure: float, bar: float) -> None:
        """Print it, and remember whether the bar held."""
        self.held.append(verdict(what, figure, bar))

    # What is measured

    def takeover(self) -> None:
        """Releases and rollbacks, one after the other, until there were enough requests."""
        with begun(self.port, "/web/", rate=RATE, streams=STREAMS) as asked:
            began, version = time.time(), 1
            time.sleep(STEADY_S)  # the time that is measured
            shifts = time.time()
            while (time.time() - began) * RATE < ENOUGH + 500 or version < 3:
                version += 1
                self.release("web", version)
                self.desk.ok("rollback", "web", "-y", timeout=180)
            kills = time.time()
            self._killed_in_between(version + 1)
        report = asked.report
        steady = report.percentile(0.99, began + 2, shifts)
        moving = report.percentile(0.99, shifts, kills)  # starts of daemons take the processor
        print(f"{2 * version - 1} releases at {RATE:g}/s: {report.said()}", flush=True)
        self.judge("failed requests and streams", report.failed, 0)
        self.judge("requests before a good check", report.early, 0)
        self.held.append(verdict("requests", report.answered, ENOUGH, at_least=True))
        self.judge(f"p99 {moving:.1f} ms; steady {steady:.1f} ms", moving / steady, 2.0)

    def _killed_in_between(self, version: int) -> None:
        """A release whose daemon dies every second."""
        words = ("--env", f"VERSION={version}", "--detach", str(self.desk.work / "web"))
        self.desk.ok("deploy", "-y", *words)
        while self.desk.ok("releases", "web", "--json").json["releases"][0]["state"] != "live":
            time.sleep(1.0)
            self.desk.kill_daemon()
            self.desk.ok("daemon", "start")

    def dead_replica(self) -> None:
        """From a kill to the moment at which the gateway sends nothing there."""
        with begun(self.port, "/web/", rate=RATE / 3) as asked:
            time.sleep(1.0)
            attempt = self._one_of("web")
            os.kill(pid_of(attempt), signal.SIGKILL)
            killed = time.time()
            wait_until(lambda: self._is_out(attempt), "it is out", 20, every=0.01)
            took = time.time() - killed
        print(f"a replica that is killed: {asked.report.said()}", flush=True)
        self.judge("failed requests meanwhile", asked.report.failed, 0)
        self.judge("s until a dead replica is out", took, 2 * CHECK_S + 0.2)
        wait_until(lambda: len(self.replicas()) == 2, "both answer again", 60)

    def _one_of(self, name: str) -> str:
        """An attempt that serves."""
        found = self.desk.ok("services", "--json").json["services"]
        (run_id,) = {each["run_id"] for each in found if each["pipeline"] == name}
        attempt = stage(self.desk.show(run_id), "serve.0")["attempt"]
        return str(attempt["attempt_id"])

    def _is_out(self, attempt: str) -> bool:
        """As HAProxy says."""
        (path,) = self.desk.home.glob("agent/gateway/*/control.sock")
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(path))
            link.sendall(b"@1 show stat\n")
            with link.makefile() as said:
                servers, _ = read_servers("".join(iter(said.readline, "\n")))
        return ("web", attempt) not in servers or not servers["web", attempt].is_up

    def through(self) -> None:
        """The way through the gateway, and the direct one at the same time."""
        more = []
        for _ in range(ROUNDS):
            direct = self.replicas()[0]["port"]
            with (
                begun(direct, "/", rate=RATE / 4) as near,
                begun(self.port, "/web/", rate=RATE / 4) as far,
            ):
                time.sleep(DIRECT_S)
            found = near.report.percentile(0.5), far.report.percentile(0.5)
            more.append(found[1] - found[0])
            print(f"p50 {found[0]:.2f} ms direct, {found[1]:.2f} by the gateway", flush=True)
        self.judge("ms of p50 through the gateway", max(more), 1.0)

    def gap(self) -> None:
        """One replica on the only GPU, for which somebody else waits."""
        own = own_start()
        self.deploy("solo", count=1, loads=LOADS_S, gpus=1)
        waits = self.desk.ok("run", "-d", "-q", "--gpus", "1", "--", "true").out.strip()
        with begun(self.port, "/solo/", rate=50) as asked:
            time.sleep(1.0)
            self.release("solo", 2)
            time.sleep(1.0)
        report = asked.report
        seconds = _gap(report)
        taken = self.desk.show(waits)["stages"][0]["attempts"]
        print(f"recreate: {report.said()}\nthe command's own start: {own:.2f} s", flush=True)
        self.judge("s without an answer, beyond the command's own start", seconds - own, 3.0)
        self.judge("times that somebody else got its GPU", len(taken), 0)
        self.desk.ok("cancel", waits)


def _gap(report: Report) -> float:
    """Seconds from the first request that failed to the next release's first answer."""
    return report.first["2"] - min(report.bad) if report.bad else 0.0


def own_start() -> float:
    """Seconds that the command takes by itself until it answers."""
    port, began = haproxy.free_port(), time.time()
    env = {**os.environ, "HOSTLER_PORT": str(port), "LOADS": str(LOADS_S)}
    with subprocess.Popen([shutil.which("python3") or "", "-S", REPLICA], env=env) as program:
        try:
            wait_until(lambda: _is_well(port), "it answers", 30, every=0.01)
            return time.time() - began
        finally:
            program.kill()


def _is_well(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
        return True
    return False


def pid_of(attempt: str) -> int:
    """The process of a replica."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            mark = f"HOSTLER_ATTEMPT={attempt}".encode()
            argv = (folder / "cmdline").read_bytes().split(b"\0")
            if b"replica.py" in argv and mark in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
    raise AssertionError(f"{attempt} does not run")


def main() -> int:
    """Measure all; 1 when a bar is missed."""
    if not haproxy.can_run():
        print(f"skipped: {haproxy.WHY_NOT}")
        return 0
    port = haproxy.free_port()
    config = f'[hosts.here]\ntransport = "local"\n[gateway]\nhost = "here"\nport = {port}\n'
    with TemporaryDirectory(prefix="hostler-bench-") as folder:
        gpus = FakeNvml(Path(folder) / "nvml", 1)
        with running(config, more=gpus.env(build())) as desk:
            bench = Bench(desk, port)
            bench.deploy("web")
            bench.through()
            bench.dead_replica()
            bench.takeover()
            bench.gap()
    return int(not all(bench.held))


if __name__ == "__main__":
    sys.exit(main())
