"""Work that comes and goes, played against the planner moment by moment: placed, launched later,
over later still, recorded, its memory back, its lease given back, each at a moment of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from hostler.base.units import GIB
from hostler.decide.index import Index, PlanCache
from hostler.decide.plan import plan
from hostler.decide.queue import place
from hostler.model.hosts import Gpu, Host
from hostler.model.plans import Snapshot, Start
from hostler.model.runs import Attempt, Phase, Run
from tests.support.values import planning as lab

LATE_S = 8
"""At most so long each step takes. Three of them are less than a stage's grace."""


@dataclass
class Job:
    """One run of one stage, and when what of it happens."""

    run: Run
    seconds: int
    attempt: Attempt | None = None
    launched: float = 0.0
    exits: float = 0.0
    recorded: float = 0.0
    memory_back: float = 0.0
    released: float = 0.0

    @property
    def gpus(self) -> int:
        """How many it asks for."""
        return self.run.stages[0].resources.gpus

    @property
    def moments(self) -> tuple[float, ...]:
        """When something of it happens."""
        return (self.launched, self.exits, self.recorded, self.memory_back, self.released)


@dataclass
class Trace:
    """The lab at a moment."""

    rng: Random
    hosts: list[Host]
    now: float = lab.NOW
    jobs: list[Job] = field(default_factory=list)
    started: dict[str, float] = field(default_factory=dict)
    promised: dict[str, float] = field(default_factory=dict)
    """Run -> when it was to start at the latest, as that was first said."""
    plan_cache: PlanCache = field(default_factory=PlanCache)
    notes_promises: bool = True
    """They cost as much as the plans."""

    def submit(self, run_id: str, gpus: int, seconds: int, **fields: Any) -> None:
        """Work that takes so long."""
        owner = fields.pop("owner", f"u-{run_id}")
        made = lab.run(run_id, lab.stage("train", gpus=gpus, cpus=0.0, **fields), owner=owner)
        self.jobs.append(Job(replace(made, submitted_at=self.now), seconds))

    def wait(self, seconds: float) -> None:
        """Let so much time pass."""
        ends = self.now + seconds
        while self.now < ends:
            self.step(ends)

    def step(self, latest: float = math.inf) -> None:
        """Plan, place what the plan starts, note what it promises; go on to when something happens
        next, at most to `latest`."""
        snapshot = self._snapshot()
        for action in lab.of_kind(plan(snapshot, self.plan_cache).actions, Start):
            self._begin(action.attempt)
        if self.notes_promises and any(job.attempt is None for job in self.jobs):
            self._note_promises()
        coming = (at for job in self.jobs for at in job.moments if at > self.now)
        self.now = min(min(coming, default=self.now + 1.0), latest)
        self.jobs = [j for j in self.jobs if j.attempt is None or j.released > self.now]

    def _note_promises(self) -> None:
        for kept in place(Index(self._snapshot(), self.plan_cache)).reservations.values():
            if kept.until is not None:
                self.promised.setdefault(kept.entry.run.run_id, kept.until)

    def _begin(self, attempt: Attempt) -> None:
        job = next(j for j in self.jobs if j.run.run_id == attempt.run_id)
        late = [self.rng.randint(0, LATE_S) for _ in range(4)]
        job.attempt = attempt
        job.launched = self.now + late[0]
        job.exits = job.launched + job.seconds
        job.recorded = job.exits + late[1]
        job.memory_back = job.exits + late[2]
        job.released = max(job.recorded, job.memory_back) + late[3]
        self.started[attempt.run_id] = self.now

    def _snapshot(self) -> Snapshot:
        runs = [self._run(j) for j in self.jobs if j.attempt is None or j.recorded > self.now]
        ended = {
            j.attempt.attempt_id: j.recorded
            for j in self.jobs
            if j.attempt is not None and j.recorded <= self.now
        }
        hosts = [self._host(host) for host in self.hosts]
        return lab.snapshot(*hosts, *runs, now=self.now, lately=ended)

    def _run(self, job: Job) -> Run:
        attempt = job.attempt
        if attempt is None:
            return job.run
        if job.launched <= self.now:
            attempt = replace(attempt, phase=Phase.RUNNING, launched_at=job.launched)
        return replace(job.run, attempts=(attempt,))

    def _host(self, host: Host) -> Host:
        here = [j for j in self.jobs if j.attempt is not None and j.attempt.host == host.name]
        assert host.look is not None
        cards = tuple(self._card(gpu, here) for gpu in host.look.gpus)
        leases = tuple(
            lab.lease(j.attempt.attempt_id, uuid)
            for j in here
            if j.attempt is not None
            for uuid in j.attempt.gpus
        )
        works = tuple(
            lab.workload(j.attempt) for j in here
            if j.attempt is not None and j.launched <= self.now < j.exits
        )  # fmt: skip
        look = replace(
            host.look, asked_at=self.now - 0.01, gpus=cards, leases=leases, workloads=works
        )
        return replace(host, look=look)

    def _card(self, gpu: Gpu, here: list[Job]) -> Gpu:
        used = any(
            j.attempt is not None
            and gpu.uuid in j.attempt.gpus
            and j.launched <= self.now < j.memory_back
            for j in here
        )
        return replace(gpu, memory_used=10 * GIB if used else 0)
