"""One simulated host: its state, the behaviour of its agent, kernel and Docker, and the errors that
it answers with.

Nothing waits here, and the time comes only from the clock that was passed in. `advance` does what
is due; every entry calls it first.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from hostler.base.errors import (
    AgentError,
    ConflictError,
    EngineError,
    HostFault,
    NotFoundError,
    Unreachable,
)
from hostler.model.files import Kept
from hostler.model.generations import Generation
from hostler.model.hosts import HostFacts, Lease
from hostler.model.jobs import Claim
from hostler.sim.behaviour import behaviour_of, end_of, metrics_text, result_text, written
from hostler.sim.clock import Bell, LabClock
from hostler.sim.files import pack, unpack
from hostler.sim.haproxy import SimHaproxy
from hostler.sim.parts import ByHand, SimGpu, SimWork, Trouble
from hostler.sim.referee import Referee
from hostler_agent.fields import seconds, text, texts
from hostler_agent.json_values import Message, Outgoing

METRICS = ".hostler/metrics.jsonl"
_RUNS_NO_MORE = "No such container or process"


@dataclass(slots=True)
class SimHost:
    """A host. `works` are the containers and processes of every Hostler, by attempt."""

    name: str
    gpus: list[SimGpu]
    clock: LabClock
    referee: Referee
    facts: HostFacts
    pull_seconds: float = 0.0
    """Seconds of the lab's time to pull a missing image."""
    pull_bytes: int = 4 * 1024**3
    boots: int = 1
    booted_at: float = 0.0
    """On the lab's clock."""
    wall_ahead: float = 0.0
    """Seconds by which its wall clock is set before the lab's."""
    works: dict[str, SimWork] = field(default_factory=dict)
    by_hand: dict[int, ByHand] = field(default_factory=dict)
    """Processes without Hostler, by pid."""
    leases: dict[str, Lease] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """(daemon, run) -> its specification and the lines about its attempts, as one text."""
    notes: dict[tuple[str, str], str] = field(default_factory=dict)
    """(daemon, service) -> the note about it."""
    ended: dict[str, str] = field(default_factory=dict)
    """Daemon -> lines about its runs that have ended."""
    generations: dict[str, Generation] = field(default_factory=dict)
    """Daemon -> its newest generation on this host."""
    images: set[str] = field(default_factory=set)
    trouble: Trouble = field(default_factory=Trouble)
    bell: Bell = field(default_factory=Bell)
    listeners: set[Callable[[Outgoing], None]] = field(default_factory=set)
    """Called with messages that agents push, for connected agents."""
    requests: list[dict[str, str]] = field(default_factory=list)
    """Requests of stages that may submit others, as the agent sends them; a host may put any
    request here."""
    answers: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    """(attempt, request) -> exit code and text."""
    gateways: dict[str, SimHaproxy] = field(default_factory=dict)
    """By daemon."""
    neighbours: dict[str, SimHost] = field(default_factory=dict, repr=False)
    """All hosts of the lab: a gateway reaches services on them."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1001))
    _pulls: dict[str, float] = field(default_factory=dict)
    _advanced: float | None = None

    @property
    def boot_id(self) -> str:
        """Another one after each reboot."""
        return f"{self.name}-boot-{self.boots}"

    def gpu(self, uuid: str) -> SimGpu | None:
        """The card of that UUID."""
        return next((gpu for gpu in self.gpus if gpu.uuid == uuid), None)

    def advance(self) -> float:
        """Process everything that is due; the time now."""
        now = self.clock.now()
        if self.trouble.off:
            self._advanced = now
            return now
        for work in list(self.works.values()):
            due = work.due()
            if due is not None and due <= now:
                self._end_by_itself(work, due)
        self._use_energy(now)
        return now

    def next_due(self) -> float | None:
        """When the next automatic change happens."""
        dues = (work.due() for work in self.works.values())
        return min((due for due in dues if due is not None), default=None)

    def users_of(self, gpu: SimGpu) -> list[SimWork]:
        """The work on a card, started by any Hostler."""
        return [work for work in self.works.values() if work.running and gpu.uuid in work.gpus]

    def strays_on(self, gpu: SimGpu) -> list[SimWork]:
        """Processes on a card that was not assigned to them."""
        return [
            work
            for work in self.works.values()
            if work.running and work.runtime != "docker" and gpu.uuid not in work.gpus
            and work.behaviour.stray == gpu.index
        ]  # fmt: skip

    def memory_used(self, gpu: SimGpu) -> int:
        """Bytes in use on a card."""
        hands = sum(hand.memory for hand in self.by_hand.values() if hand.gpu == gpu.uuid)
        ours = sum(memory_of(w, gpu) for w in (*self.users_of(gpu), *self.strays_on(gpu)))
        return min(gpu.memory_total, gpu.kept + hands + ours)

    def add_lease(self, uuid: str, claim: Claim) -> str:
        """Note that a claim holds a GPU; the lease's id."""
        lease_id = f"{self.name}-lease-{next(self._numbers)}"
        self.leases[lease_id] = Lease(
            lease_id, uuid, claim.daemon_id, claim.owner, claim.attempt_id,
            self.clock.now(), claim.until, self.boot_id,
        )  # fmt: skip
        return lease_id

    def release(self, lease_ids: list[str]) -> None:
        """Release leases."""
        for lease_id in lease_ids:
            self.leases.pop(lease_id, None)

    def pull(self, image: str) -> tuple[int, int]:
        """Start or continue to pull an image: bytes done and in total."""
        self.check_docker("docker")
        if any(fnmatchcase(image, glob) for glob in self.trouble.no_image):
            raise EngineError(
                self.name,
                f"No such image: {image}",
                remedy="check its name, or log in to its registry on the host",
                status=404,
            )
        begun = self._pulls.setdefault(image, self.clock.now())
        passed = self.clock.now() - begun
        if image in self.images or passed >= self.pull_seconds:
            self.images.add(image)
            self._pulls.pop(image, None)
            return self.pull_bytes, self.pull_bytes
        return int(self.pull_bytes * passed / self.pull_seconds), self.pull_bytes

    def create(self, asked: Message) -> SimWork:
        """A container or folder that has not started; the existing one, if it is equal."""
        runtime = str(asked.get("runtime", "process"))
        self.check_docker(runtime)
        attempt_id, daemon_id = text(asked, "attempt_id"), text(asked, "daemon_id")
        existing = self.works.get(attempt_id)
        if existing is not None:
            if existing.daemon_id != daemon_id:
                raise EngineError(
                    self.name,
                    f"{attempt_id} exists and is not of this daemon",
                    remedy="it was not touched",
                    status=409,
                )
            return existing
        number = next(self._numbers)
        seed = f"{self.name}/{number}".encode()
        docker_ref = hashlib.sha256(seed).hexdigest()
        work = SimWork(
            attempt_id=attempt_id,
            daemon_id=daemon_id,
            run_id=text(asked, "run_id"),
            runtime=runtime,
            ref=docker_ref if runtime == "docker" else attempt_id,
            owner=text(asked, "owner"),
            gpus=tuple(texts(asked, "gpus")),
            pid=number,
            grace=seconds(asked, "grace", 30.0),
            port=20000 + number if asked.get("service") else None,
        )
        self.works[work.attempt_id] = work
        self.referee.created(work)
        return work

    def place(self, attempt_id: str, digest: str, target: str) -> None:
        """Unpack a cached blob into a workload that has not started."""
        work = self.work(attempt_id)
        if digest not in self.blobs:
            raise AgentError(self.name, f"blob {digest[:12]} is not in the cache")
        if work.started_at is None:
            files = unpack(self.blobs[digest], target)
            work.files.update(files)
            work.placed.update(files)

    def start(self, attempt_id: str, env: Mapping[str, str]) -> SimWork:
        """Start a created workload; a started workload is left as it is."""
        work = self.work(attempt_id)
        self.check_docker(work.runtime)
        if work.started_at is not None:
            return work
        try:
            behaviour = behaviour_of(attempt_id, env)
        except ValueError as error:
            raise EngineError(self.name, str(error), remedy="correct the variable") from error
        if behaviour.blames_host:
            raise HostFault(self.name, behaviour.blames_host, status=500)
        self._check_starts(work)
        if behaviour.start_error:
            work.error = behaviour.start_error
            raise EngineError(self.name, behaviour.start_error, status=500)
        for uuid in work.gpus:
            gpu = self.gpu(uuid)
            if gpu is None or gpu.problem:
                what = f"no device {uuid} could be given"
                raise HostFault(self.name, what, status=500, gpus_only=True)
        now = self.clock.now()
        self.referee.started(self.name, work, self.works.values(), self.leases.values())
        work.behaviour, work.started_at, work.error = behaviour, now, None
        for lease in [x for x in self.leases.values() if x.workload == attempt_id]:
            # A process is known by pid and start time from now on, which other users can check.
            self.leases[lease.lease_id] = replace(lease, workload=f"{work.pid}:{int(now * 100)}")
        return work

    def signal(self, attempt_id: str, number: int) -> bool:
        """Send TERM (15) or KILL (9); False: it does not run."""
        work = self.works.get(attempt_id)
        if work is None or not work.running:
            return False
        self.check_docker(work.runtime)
        self.referee.stops[attempt_id] += 1
        if any(gpu is not None and gpu.hung for gpu in map(self.gpu, work.gpus)):
            return True
        now = self.clock.now()
        if number == 9:
            work.killed_at, work.killed_by = now, 9
        elif not work.behaviour.ignore_term and work.killed_at is None:
            work.killed_at, work.killed_by = now + work.behaviour.term, number
        self.advance()
        return True

    def remove(self, attempt_id: str) -> None:
        """Remove a workload that does not run."""
        work = self.works.get(attempt_id)
        if work is None:
            return
        self.check_docker(work.runtime)
        if work.running:
            raise EngineError(self.name, f"{attempt_id} still runs", status=409)
        del self.works[attempt_id]
        self.referee.removes[attempt_id] += 1

    def work(self, attempt_id: str) -> SimWork:
        """The workload of an attempt, or of a ref. Raises EngineError."""
        work = self.works.get(attempt_id) or next(
            (work for work in self.works.values() if work.ref == attempt_id), None
        )
        if work is None:
            raise EngineError(self.name, f"{_RUNS_NO_MORE}: {attempt_id}", status=404)
        return work

    def read(self, attempt_id: str, path: str) -> bytes:
        """A tar of a path in a workload's folder. A successful stage has written the requested
        file, unless it was set not to."""
        work = self.work(attempt_id)
        self.check_docker(work.runtime)
        files = self.files(work)
        docker = work.runtime == "docker"
        tar = pack(files, path, prefixed=docker)
        if tar is None and work.exit_code == 0 and self._writes(work, path):
            inputs = {n: d for n, d in work.files.items() if n.startswith("inputs/")}
            name = path if "." in path.rpartition("/")[2] else f"{path}/result.txt"
            made = {name: result_text(work.attempt_id, inputs)}
            tar = pack(made, path, prefixed=docker)
        if tar is None:
            raise AgentError(self.name, f"{path} does not exist in the working folder")
        return tar

    def files(self, work: SimWork) -> dict[str, bytes]:
        """All files in a workload's folder, except outputs that were not requested yet."""
        elapsed = work.elapsed(self.clock.now())
        found = {**work.files, **written(work.attempt_id, work.behaviour, elapsed)}
        if text := metrics_text(work.behaviour, elapsed):
            found[METRICS] = text.encode()
        return found

    def files_of(self, attempt_id: str) -> dict[str, bytes]:
        """The same, of an attempt. Raises NotFoundError, Unreachable."""
        work = self.works.get(attempt_id)
        if work is None:
            raise NotFoundError(f"there is no job {attempt_id} here")
        self.check_docker(work.runtime)
        return self.files(work)

    def keep(self, attempt_id: str, until: float) -> Kept:
        """Keep an ended workload."""
        work = self.work(attempt_id)
        self.check_docker(work.runtime)
        if work.running:
            raise ConflictError(f"{attempt_id} still runs")
        work.kept_until = until
        files = self.files(work)
        return Kept(len(files), sum(map(len, files.values())), folder_of(work))

    def start_by_hand(
        self,
        uuid: str,
        user: str,
        memory: int = 8 * 1024**3,
        command: str = "python train.py",
        image: str | None = None,
    ) -> int:
        """A user uses a card without Hostler, in a container if an image is named; the pid."""
        pid = 20000 + next(self._numbers)
        ref = hashlib.sha256(f"{self.name}/{pid}".encode()).hexdigest()
        container = None if image is None else (ref, f"{user}-{pid}", image)
        self.by_hand[pid] = ByHand(pid, user, command, uuid, memory, self.clock.now(), container)
        return pid

    def check_docker(self, runtime: str) -> None:
        """Raises Unreachable while Docker, asked by the runtime "docker", does not answer."""
        if runtime == "docker" and self.trouble.docker is not None:
            raise Unreachable(self.name, self.trouble.docker)

    def _check_starts(self, work: SimWork) -> None:
        if work.runtime != "docker":
            return
        if self.trouble.starts_nothing is not None:
            raise HostFault(self.name, self.trouble.starts_nothing, status=500)
        if work.gpus and self.trouble.starts_no_gpus is not None:
            raise HostFault(self.name, self.trouble.starts_no_gpus, status=500, gpus_only=True)

    def end(self, work: SimWork, at: float, code: int | None, signal: int | None = None) -> None:
        """A workload ends: its memory is released, its agents report it."""
        work.ended_at, work.exit_code, work.signal = at, code, signal
        for gpu in map(self.gpu, work.gpus):
            if gpu is not None and gpu.keeps:
                gpu.kept = max(gpu.kept, memory_of(work, gpu))
        if not self.trouble.off and (work.runtime != "docker" or self.trouble.docker is None):
            for listener in tuple(self.listeners):
                listener({"exit": work.to_wire()})
        self.bell.ring()

    def _writes(self, work: SimWork, path: str) -> bool:
        withheld = (*work.behaviour.no_output, *self.trouble.no_output)
        return path != METRICS and not any(fnmatchcase(path, glob) for glob in withheld)

    def _end_by_itself(self, work: SimWork, at: float) -> None:
        if work.killed_at is not None and at == work.killed_at:
            self.end(work, at, 128 + work.killed_by, work.killed_by)
            return
        code, work.oom = end_of(work.behaviour)
        if work.behaviour.gpu_oom:
            work.last_words = "torch.OutOfMemoryError: CUDA out of memory."
        self.end(work, at, code)

    def _use_energy(self, now: float) -> None:
        passed = 0.0 if self._advanced is None else now - self._advanced
        self._advanced = now
        for gpu in self.gpus:
            busy = bool(self.users_of(gpu)) or any(h.gpu == gpu.uuid for h in self.by_hand.values())
            gpu.energy += passed * gpu.power_limit * (0.75 if busy else 0.12)


def folder_of(work: SimWork) -> str:
    """The folder of a workload's files, for people."""
    if work.runtime == "docker":
        return f"container hostler-{work.daemon_id[:8]}-{work.attempt_id}, /work"
    return f"/var/tmp/hostler-1000/jobs/{work.attempt_id}/work"


def memory_of(work: SimWork, gpu: SimGpu) -> int:
    """Bytes that a workload uses on a card while it runs."""
    return int(gpu.memory_total * min(1.0, max(0.0, work.behaviour.memory)))
