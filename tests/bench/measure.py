"""What benchmarks share: a desk of their own, ratios with a verdict, the worst of the rounds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hostler.client import Client
from hostler.quick.socket import Found
from tests.support.machines.desk import Desk, desk_folder

ROUNDS = 3


class BenchDesk(Desk):
    """A desk whose agents on this machine share no folder with anybody: an agent sees the jobs of
    all daemons of its login, and others' would be work too. What is measured are the programs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.cold = True

    @property
    def env(self) -> dict[str, str]:
        """The environment of every command."""
        folder = {"HOSTLER_FOLDER": f"{self.home}/agent", "HOSTLER_LEASES": f"{self.home}/leases"}
        return {**super().env, **folder, **self.more}

    more: Mapping[str, str] = {}
    """Further variables."""

    def client(self) -> Client:
        """To the daemon, which runs."""
        return Client(found=Found(str(self.state / "hostler.sock"), "flag"), timeout=300)


@contextmanager
def running(
    config: str, *, known_hosts: str = "", more: Mapping[str, str] | None = None
) -> Iterator[BenchDesk]:
    """A desk with this config and a daemon that runs."""
    with desk_folder() as folder:
        desk = BenchDesk(folder)
        desk.more = more or {}
        desk.config.write_text(config)
        (folder / ".ssh").mkdir(mode=0o700)
        (folder / ".ssh" / "known_hosts").write_text(known_hosts)
        desk.ok("daemon", "start")
        try:
            yield desk
        finally:
            desk.close()


def run(client: Client, pipeline: str) -> tuple[float, float]:
    """Submit a pipeline and wait for its end: when it was submitted, and when its end was
    recorded, both by this machine's clock. Every stage has to succeed."""
    begun = time.time()
    submitted = client.submit({"pipeline": pipeline})
    ended = begun
    for line in client.run_events(submitted.run_id, follow=True):
        if line.event is not None and line.event.kind == "run.succeeded":
            ended = line.event.at  # every stage's end is durable by then
        assert line.run is None or line.run.outcome in (None, "succeeded"), line
    return begun, ended


def verdict(what: str, ratio: float, bar: float, *, at_least: bool = False) -> bool:
    """Print whether a bar was held."""
    held = ratio >= bar if at_least else ratio <= bar
    sign = ">=" if at_least else "<="
    print(f"{what}: {ratio:.2f} (bar {sign} {bar:g}) {'held' if held else 'MISSED'}", flush=True)
    return held


def worst(
    rounds: Sequence[Mapping[str, float]], bars: Mapping[str, float], *, at_least: frozenset[str]
) -> int:
    """Print the worst of the rounds for each bar; 1 when one was missed."""
    held = []
    for name, bar in bars.items():
        most = name in at_least
        ratio = (min if most else max)(round_[name] for round_ in rounds)
        held.append(verdict(name, ratio, bar, at_least=most))
    return int(not all(held))


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def threads_of(pid: int) -> int:
    """How many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))
