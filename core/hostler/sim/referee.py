"""Checks the simulated lab from outside: double starts and shared GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hostler.model.hosts import Lease
from hostler.sim.parts import SimWork


class Referee:
    """Counts, and notes every broken rule as a sentence. Tests require that there are none."""

    def __init__(self) -> None:
        self.creates: Counter[str] = Counter()
        """Attempt -> how often a container or folder was created for it."""
        self.starts: Counter[str] = Counter()
        """Attempt -> how often a workload was started for it."""
        self.stops: Counter[str] = Counter()
        """Attempt -> signals that reached it while it ran."""
        self.removes: Counter[str] = Counter()
        self.setups: Counter[str] = Counter()
        """Attempt -> how often a setup was started for it."""
        self.violations: list[str] = []

    def created(self, work: SimWork) -> None:
        """A container or folder was created."""
        self.creates[work.attempt_id] += 1

    def started(
        self, host: str, work: SimWork, others: Iterable[SimWork], leases: Iterable[Lease]
    ) -> None:
        """A workload starts; `others` are all workloads of that host."""
        self.starts[work.attempt_id] += 1
        if self.starts[work.attempt_id] > 1:
            self.violations.append(f"{work.attempt_id} was started twice, now on {host}")
        held = {lease.gpu for lease in leases if lease.attempt_id == work.attempt_id}
        for gpu in work.gpus:
            if gpu not in held:
                self.violations.append(f"{work.attempt_id} starts on {gpu} without a lease")
            for other in others:
                if other is not work and other.running and gpu in other.gpus:
                    self.violations.append(f"{work.attempt_id} and {other.attempt_id} share {gpu}")
