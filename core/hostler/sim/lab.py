"""A lab in memory: its hosts, the GPU models, how long things take, and time that passes. Always
marked SIM.

Behind the same Protocols as the real one, so that the daemon sees no difference; its looks and
answers go through the real wire. Nothing here matters after the process ends.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace

from hostler.base.errors import NotFoundError
from hostler.base.units import GIB, MIB
from hostler.model.config import Config, DaemonConfig, HostConfig
from hostler.model.hosts import HostFacts
from hostler.model.runtimes import NAMES, RUNTIMES
from hostler.sim.clock import LabClock
from hostler.sim.host import SimHost
from hostler.sim.parts import SimGpu
from hostler.sim.referee import Referee

TRANSPORT = "sim"


@dataclass(frozen=True, slots=True)
class Card:
    """A model of GPU."""

    name: str
    memory: int
    """Bytes that NVML reports."""
    power: float
    """Watts, its limit."""


A100 = Card("NVIDIA A100-SXM4-80GB", 81920 * MIB, 400.0)
H100 = Card("NVIDIA H100 80GB HBM3", 81559 * MIB, 700.0)
A6000 = Card("NVIDIA RTX A6000", 49140 * MIB, 300.0)
RTX3090 = Card("NVIDIA GeForce RTX 3090", 24576 * MIB, 350.0)
L40S = Card("NVIDIA L40S", 46068 * MIB, 350.0)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long operations take, in real seconds."""

    message: float = 0.002
    """One way between daemon and host."""
    create: float = 0.3
    start: float = 0.4
    remove: float = 0.1
    claim: float = 0.005
    notice: float = 5.0
    """Until a cut connection is noticed."""
    pulse: float = 0.5
    """The longest time between two advances of the lab by each connection."""


@dataclass(slots=True)
class SimLab:
    """All hosts, the referee, and the tasks for messages on the way between daemon and hosts."""

    clock: LabClock = field(default_factory=LabClock)
    pace: Pace = field(default_factory=Pace)
    hosts: dict[str, SimHost] = field(default_factory=dict)
    referee: Referee = field(default_factory=Referee)
    scripts: list[Callable[[float], None]] = field(default_factory=list)
    """Called with the lab's time whenever it advances: what people and machines do by themselves.
    Depends on the time alone, so that it does not matter how often."""
    _scripts_ran: float = 0.0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _addresses: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def add_host(
        self,
        name: str,
        cards: Sequence[Card],
        *,
        cpus: int = 64,
        memory: int = 512 * GIB,
        docker: bool = True,
        driver: str = "550.54.15",
    ) -> SimHost:
        """A host with these cards, up and empty."""
        number = next(self._addresses)
        gpus = [
            SimGpu(f"GPU-{number:08x}-51b0-4000-8000-{i:012x}", i, c.name, c.memory, c.power)
            for i, c in enumerate(cards)
        ]
        facts = HostFacts(
            hostname=name,
            kernel="6.8.0-sim",
            machine="x86_64",
            os="Simulated Linux",
            python="3.10.12",
            driver=driver if cards else None,
            cuda="12.4" if cards else None,
            cpus=cpus,
            memory_total=memory,
            docker="27.5.1-sim" if docker else None,
            docker_gpu="nvidia" if docker and cards else None,
            runtimes=tuple(n for n in NAMES if docker or not RUNTIMES[n].has_engine),
            uid=1000,
            gid=1000,
            groups=(1000,),
            home="/home/sim",
            user="sim",
        )
        host = SimHost(name, gpus, self.clock, self.referee, facts, neighbours=self.hosts)
        self.hosts[name] = host
        return host

    def host(self, name: str) -> SimHost:
        """A host by name. Raises NotFoundError."""
        if name not in self.hosts:
            raise NotFoundError(f"the simulated lab has no host {name!r}")
        return self.hosts[name]

    def config(self, **daemon: float) -> Config:
        """A config that names every host; fields of `DaemonConfig` may be given."""
        hosts = tuple(HostConfig(name=name, transport=TRANSPORT) for name in self.hosts)
        return Config(hosts=hosts, daemon=replace(DaemonConfig(), **daemon))  # type: ignore[arg-type]

    def advance(self) -> float:
        """Process everything that is due; the lab's time."""
        now = self.clock.now()
        self._scripts_ran = time.monotonic()
        for script in self.scripts:
            script(now)
        for host in self.hosts.values():
            host.advance()
        return now

    def advance_host(self, host: SimHost) -> float:
        """The same for one host, and now and then for what depends on the time alone: that each
        of many hosts advances all of them would cost more than all else."""
        if time.monotonic() - self._scripts_ran > self.pace.pulse / 5:
            return self.advance()
        return host.advance()

    def running(self) -> list[str]:
        """Attempts with a running workload on any host."""
        self.advance()
        return [w.attempt_id for h in self.hosts.values() for w in h.works.values() if w.running]

    def left(self) -> list[str]:
        """What any Hostler has left on hosts: workloads and leases, as text."""
        self.advance()
        found = []
        for host in self.hosts.values():
            found += [f"{host.name}: workload {attempt}" for attempt in host.works]
            found += [f"{host.name}: lease {x.attempt_id}" for x in host.leases.values()]
        return found

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Continue a task even if the daemon that requested it ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End the running tasks."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
