"""The world of `random_lab`: what is really so on the hosts, and what happens there by itself."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from random import Random

from hostler.base.units import GIB
from hostler.model.hosts import (
    Gpu,
    GpuProcess,
    Host,
    HostCondition,
    HostFacts,
    Lease,
    Look,
    Workload,
)
from hostler.model.pipelines import OnLost, Resources, Retries, Stage, StageKind
from hostler.model.runs import Run

DAEMON, OTHER = "ours", "theirs"
Task = Generator[None, None, None]


@dataclass
class RealHost:
    """What is really so on a host."""

    name: str
    gpus: tuple[str, ...]
    boot: int = 1
    reachable: bool = True
    docker: bool = True
    starts: bool = True
    """Whether anything can be started."""
    work: dict[str, Workload] = field(default_factory=dict)
    dying: set[str] = field(default_factory=set)
    leases: dict[str, Lease] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)
    """GPUs whose memory does not come back for now."""

    def look(self, asked_at: float) -> Look:
        running = {w.attempt_id for w in self.work.values() if w.running}
        boot_id = f"{self.name}-{self.boot}"
        leases = tuple(
            replace(x, stale=x.boot_id != boot_id and x.attempt_id not in running)
            for x in self.leases.values()
        )
        cards = tuple(Gpu(u, i, "A100", 80 * GIB, **self._load(u)) for i, u in enumerate(self.gpus))  # type: ignore[arg-type]
        seen = tuple(self.work.values()) if self.docker else ()
        problem = None if self.docker else "docker does not answer"
        return Look(asked_at, boot_id, cards, seen, (), leases, docker_problem=problem)

    def _load(self, uuid: str) -> dict[str, object]:
        who = [w for w in self.work.values() if w.running and uuid in w.gpus]
        there = [
            GpuProcess(1, "compute", w.owner, "py", GIB * 5, attempt_id=w.attempt_id) for w in who
        ]
        if uuid in self.foreign:
            there.append(GpuProcess(2, "compute", "bob", "notebook", GIB * 5))
        busy = bool(there) or uuid in self.stuck
        return {"memory_used": 5 * GIB if busy else 0, "processes": tuple(there)}

    def end(self, attempt_id: str, code: int | None) -> None:
        workload = self.work[attempt_id]
        self.work[attempt_id] = replace(workload, running=False, exit_code=code)
        self.dying.discard(attempt_id)


class World:
    """The hosts as they are, what the daemon knows of them, and what happens by itself."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.now = 1000.0
        sizes = [rng.choice([0, 1, 2, 4]) for _ in range(rng.randint(1, 3))] + [2]
        self.real = {
            f"h{i}": RealHost(f"h{i}", tuple(f"h{i}-g{g}" for g in range(n)))
            for i, n in enumerate(sizes)
        }
        self.largest = max(sizes)
        facts = HostFacts(docker_gpu="nvidia")
        self.known = {
            n: Host(n, "ssh", HostCondition.CONNECTING, self.now, facts=facts) for n in self.real
        }
        self.known = {n: self._as_up(n, None) for n in self.real}
        self.looks: list[tuple[float, str, Look]] = []
        """Under way: (when asked, host, what it saw)."""
        self.runs: dict[str, Run] = {}
        self.ended: dict[str, Run] = {}
        self.tasks: dict[str, Task] = {}
        self.places: dict[str, str] = {}
        """Task -> the host it works on."""
        self.broken: set[str] = set()
        """Tasks whose link went away under them."""
        self.refused: dict[str, float] = {}
        self.created: set[str] = set()
        self.launches: set[str] = set()

    def submit(self) -> None:
        rng, number = self.rng, len(self.runs) + len(self.ended)
        if number >= 6:
            return
        stages: list[Stage] = []
        for i in range(rng.randint(1, 4)):
            counts = rng.sample(range(1, self.largest + 1), min(2, self.largest))
            models = tuple(f"*:{n}" for n in counts) if rng.random() < 0.2 else ()
            gpus = counts[0] if models else rng.randint(0, self.largest)
            needs = tuple(s.name for s in stages if rng.random() < 0.4)
            stages.append(
                Stage(
                    f"s{i}",
                    f"s{i}",
                    StageKind.TASK,
                    ("true",),
                    runtime="docker",
                    needs=needs,
                    needs_ended=frozenset(n for n in needs if rng.random() < 0.3),
                    resources=Resources(gpus=gpus, gpu_models=models, cpus=rng.choice([1, 2])),
                    retries=Retries(max=rng.choice([0, 1, 2]), backoff=2.0),
                    on_lost=rng.choice([OnLost.WAIT, OnLost.RESTART]),
                    lost_after=rng.choice([5.0, 30.0]),
                    timeout=rng.choice([None, None, 50.0]),
                    outputs=rng.choice([{}, {"model": "out"}]),
                )
            )
        run_id = f"r{number}"
        owner = rng.choice(["ana", "bo"])
        self.runs[run_id] = Run(run_id, "p", tuple(stages), owner, 1000, self.now)

    def cancel(self) -> None:
        if self.runs:
            run = self.rng.choice(list(self.runs.values()))
            self.runs[run.run_id] = replace(run, cancelled_by="eve")

    def tick(self) -> None:
        self.now += self.rng.choice([0.2, 0.5, 1.0, 3.0])

    def jump(self) -> None:
        self.now += self.rng.choice([15.0, 40.0, 400.0])

    def ask(self) -> None:
        host = self._any_host()
        if host.reachable and self.known[host.name].condition is HostCondition.UP:
            self.looks.append((self.now, host.name, host.look(self.now)))

    def answer(self) -> None:
        if not self.looks:
            return
        asked_at, name, look = self.looks.pop(self.rng.randrange(len(self.looks)))
        before = self.known[name]
        if before.condition is HostCondition.UP and (
            before.look is None or before.look.asked_at < asked_at
        ):
            self.known[name] = replace(before, look=look)

    def look(self) -> None:
        """Ask and be answered at once: the usual case."""
        self.ask()
        if self.looks and self.rng.random() < 0.7:
            asked_at, name, look = self.looks.pop()
            before = self.known[name]
            if before.look is None or before.look.asked_at < asked_at:
                self.known[name] = replace(before, look=look)

    def silence(self) -> None:
        host = self._any_host()
        host.reachable = False
        if self.rng.random() < 0.7:
            self._lost_link(host.name)

    def heal(self) -> None:
        host = self._any_host()
        host.reachable = True
        if self.known[host.name].condition is not HostCondition.UP:
            self.known[host.name] = self._as_up(host.name, self.known[host.name].look)

    def exit(self) -> None:
        found = [(h, w) for h in self.real.values() for w in h.work.values() if w.running]
        if found:
            host, workload = self.rng.choice(found)
            host.end(workload.attempt_id, self.rng.choice([0, 0, 1]))

    def die(self) -> None:
        """What was told to stop stops, late."""
        for host in self.real.values():
            for attempt_id in sorted(host.dying):
                if attempt_id in host.work and host.work[attempt_id].running:
                    host.end(attempt_id, 137)

    def vanish(self) -> None:
        """Somebody removes a container by hand."""
        host = self._any_host()
        ours = [a for a, w in host.work.items() if w.daemon_id == DAEMON]
        if ours:
            del host.work[self.rng.choice(ours)]

    def reboot(self) -> None:
        host = self._any_host()
        host.boot += 1
        host.foreign.clear()
        host.stuck.clear()
        for attempt_id, workload in list(host.work.items()):
            if workload.running:
                host.end(attempt_id, 255)
        self._lost_link(host.name)

    def intrude(self) -> None:
        host = self._any_host()
        if host.gpus:
            uuid = self.rng.choice(host.gpus)
            (host.foreign.discard if uuid in host.foreign else host.foreign.add)(uuid)

    def stick(self) -> None:
        host = self._any_host()
        if host.gpus:
            uuid = self.rng.choice(host.gpus)
            (host.stuck.discard if uuid in host.stuck else host.stuck.add)(uuid)

    def docker_away(self) -> None:
        host = self._any_host()
        host.docker = not host.docker

    def other_daemon(self) -> None:
        """Another Hostler takes a GPU that is really free, or gives it back."""
        host = self._any_host()
        theirs = [a for a, w in host.work.items() if w.daemon_id == OTHER]
        if theirs:
            gone = theirs[0]
            host.leases = {k: x for k, x in host.leases.items() if x.attempt_id != gone}
            del host.work[gone]
            return
        free = [u for u in host.gpus if self._in_the_way(host, u, "x") is None]
        if free:
            name = f"x-{host.name}-{len(self.launches)}-{self.now}"
            host.work[name] = Workload(
                name, OTHER, "docker", name, True, gpus=(free[0],), owner="zoe"
            )
            host.leases[f"L-{name}"] = Lease(
                f"L-{name}",
                free[0],
                OTHER,
                "zoe",
                name,
                self.now,
                boot_id=f"{host.name}-{host.boot}",
            )

    def ail(self) -> None:
        """Nothing starts on a host any more, or again."""
        host = self._any_host()
        host.starts = not host.starts

    def drain(self) -> None:
        host = self._any_host()
        before = self.known[host.name]
        self.known[host.name] = replace(before, drained=None if before.drained else "fans")

    def _in_the_way(self, host: RealHost, uuid: str, attempt_id: str) -> str | None:
        for workload in host.work.values():
            if workload.running and uuid in workload.gpus and workload.attempt_id != attempt_id:
                return f"{'our' if workload.daemon_id == DAEMON else 'their'} {workload.attempt_id}"
        for lease in host.look(self.now).leases:
            if lease.gpu == uuid and lease.attempt_id != attempt_id and not lease.stale:
                return f"{'our' if lease.daemon_id == DAEMON else 'their'} {lease.lease_id}"
        return "bob's process" if uuid in host.foreign or uuid in host.stuck else None

    def _reach(self, host: RealHost) -> bool:
        if not host.reachable or self.known[host.name].condition is not HostCondition.UP:
            self._lost_link(host.name)
            return False
        return True

    def _lost_link(self, name: str) -> None:
        before = self.known[name]
        if before.condition is HostCondition.UP:
            self.known[name] = replace(before, condition=HostCondition.UNREACHABLE, since=self.now)
            self.looks = [look for look in self.looks if look[1] != name]
            for key in [k for k, host in self.places.items() if host == name]:
                self.broken.add(key)

    def _as_up(self, name: str, look: Look | None) -> Host:
        before = self.known[name]
        return replace(
            before,
            condition=HostCondition.UP,
            since=self.now,
            look=look,
            runtimes=("docker", "process"),
            cpus=4,
        )

    def _any_host(self) -> RealHost:
        return self.rng.choice(list(self.real.values()))
