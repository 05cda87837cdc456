"""Parts of a simulated host as values: GPUs, processes, workloads, faults; `people` makes the
faults happen."""

from __future__ import annotations

from dataclasses import dataclass, field

from hostler.base.errors import HostError
from hostler.sim.behaviour import Behaviour, log_text
from hostler_agent import look_sections


@dataclass(slots=True)
class SimGpu:
    """One card. Bytes and watts."""

    uuid: str
    index: int
    name: str
    memory_total: int
    power_limit: float
    problem: str | None = None
    hung: bool = False
    """Nothing that uses it can be killed."""
    keeps: bool = False
    """The memory of ended work on it is not released."""
    kept: int = 0
    """Bytes in use by an unknown process."""
    energy: float = 0.0
    """Joules."""


@dataclass(slots=True)
class ByHand:
    """The use of a GPU by a user without Hostler."""

    pid: int
    user: str
    command: str
    gpu: str
    memory: int
    started_at: float
    container: tuple[str, str, str] | None = None
    """Id, name and image of the container it runs in."""


@dataclass(slots=True)
class SimWork:
    """A container or supervised process of some Hostler."""

    attempt_id: str
    daemon_id: str
    run_id: str
    runtime: str
    ref: str
    owner: str
    gpus: tuple[str, ...]
    pid: int
    grace: float = 30.0
    port: int | None = None
    """The port of a service."""
    behaviour: Behaviour = field(default_factory=lambda: Behaviour(seconds=0.0))
    files: dict[str, bytes] = field(default_factory=dict)
    placed: dict[str, bytes] = field(default_factory=dict)
    """The placed content of `files`."""
    kept_until: float | None = None
    """It has ended and is kept; no look shows it."""
    setup_at: float | None = None
    """When its setup began."""
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    oom: bool = False
    engine_restarted: bool = False
    cut_off: bool = False
    """It may no longer open its GPUs."""
    error: str | None = None
    killed_at: float | None = None
    """When the sent signals will have ended it."""
    killed_by: int = 0
    last_words: str = ""
    warned: str = ""
    """The signal that warned it of its time limit."""

    @property
    def running(self) -> bool:
        """It was started and has not ended."""
        return self.started_at is not None and self.ended_at is None

    def due(self) -> float | None:
        """When it ends without further events; None: it does not run."""
        if self.started_at is None or self.ended_at is not None:
            return None
        natural = self.started_at + self.behaviour.seconds
        return natural if self.killed_at is None else min(natural, self.killed_at)

    def elapsed(self, now: float) -> float:
        """Seconds it has run."""
        if self.started_at is None:
            return 0.0
        return (now if self.ended_at is None else self.ended_at) - self.started_at

    def health(self, now: float, booted_at: float) -> look_sections.HealthRow | None:
        """The health of a service; None: it is not a service, or does not run."""
        if self.port is None or self.started_at is None or not self.running:
            return None
        begun, sick, elapsed = self.started_at - booted_at, self.behaviour.sick, self.elapsed(now)
        if sick is not None and elapsed >= sick:
            return look_sections.HealthRow(self.attempt_id, False, begun + sick, "HTTP status 500")
        ready = self.behaviour.ready
        if elapsed < ready:
            return look_sections.HealthRow(self.attempt_id, False, begun, "nothing listens")
        return look_sections.HealthRow(self.attempt_id, True, begun + ready, "")

    def log(self, now: float) -> bytes:
        """All its output so far."""
        if self.started_at is None:
            return b""
        return log_text(self.attempt_id, self.behaviour, self.elapsed(now), self.last_words)

    def to_wire(self, booted_at: float = 0.0) -> look_sections.Workload:
        """A `Workload` in the agent's form: unknown fields are left out."""
        told: look_sections.Workload = {
            "attempt_id": self.attempt_id, "daemon_id": self.daemon_id, "runtime": self.runtime,
            "ref": self.ref, "running": self.running, "gpus": list(self.gpus),
            "owner": self.owner,
        }  # fmt: skip
        if self.started_at is None:
            told["created_only"] = True
        if self.started_at is not None:
            told["started_at"] = self.started_at
            if self.port is not None:
                told["port"] = self.port
            if self.ended_at is None:
                told["started_up"] = round(self.started_at - booted_at, 3)
        if self.ended_at is not None:
            told["finished_at"] = self.ended_at
        if self.error is not None:
            told["error"] = self.error
        if self.exit_code is not None:
            told["exit_code"] = self.exit_code
        if self.signal is not None:
            told["signal"] = self.signal
        if self.oom:
            told["oom_killed"] = True
        if self.engine_restarted:
            told["engine_restarted"] = True
        if self.cut_off:
            told["gpu_cut_off"] = True
        return told


@dataclass(slots=True)
class Trouble:
    """All present problems of one host; set by `Faults`."""

    cut_since: float | None = None
    """Real (monotonic) time since which no message arrives."""
    off: bool = False
    """The machine itself is down."""
    slow: float = 0.0
    """Extra real seconds for each message."""
    refuses: str | None = None
    """Why a login is refused."""
    docker: str | None = None
    """Why Docker does not answer."""
    starts_nothing: str | None = None
    """Why Docker, which answers, starts no container."""
    starts_no_gpus: str | None = None
    """Why it starts none with GPUs."""
    lost_replies: dict[str, int] = field(default_factory=dict)
    """Verb -> how many more of its answers get lost, and the connection with them."""
    failures: dict[str, list[HostError]] = field(default_factory=dict)
    """Verb -> errors for its next calls, which have no effect."""
    garbage: int = 0
    """The number of further looks that are answered with invalid data."""
    taken_at_claim: list[str] = field(default_factory=list)
    """Users who start something by hand just before the next claims arrive."""
    no_image: list[str] = field(default_factory=list)
    """Globs of images that the registry does not have."""
    no_output: list[str] = field(default_factory=list)
    """Globs of output paths that nothing writes."""
    no_path: list[str] = field(default_factory=list)
    """Globs of folders that do not exist there."""
    no_environment: list[str] = field(default_factory=list)
    """Globs of the names of missing modules and conda environments."""

    def loses_reply(self, verb: str) -> bool:
        """Whether the answer to this call gets lost; each is counted once."""
        left = self.lost_replies.get(verb, 0)
        if left:
            self.lost_replies[verb] = left - 1
        return left > 0

    def failure(self, verb: str) -> HostError | None:
        """The error to answer this call with, if there is one."""
        waiting = self.failures.get(verb)
        return waiting.pop(0) if waiting else None
