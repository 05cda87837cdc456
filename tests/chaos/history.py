"""What happened in a lab, as one list of entries with one clock: the input of the checker.

A history is a file of JSON lines, an entry a line. Every recorder appends to it; nothing reads it
before the end. The kinds of entries:

    call    a client's call began, and how it ended: ok, fail, or unknown (no answer came)
    fault   a fault began or ended, on a host or on the daemon
    grant   the referee saw GPUs given to a container
    docker  a recording proxy saw a call to a host's dockerd
    sample  what `hostler gpus` said of every host at a moment
    unanswered  a request to a service found nobody, though an answer was promised
    final   database and hosts at the end, when all faults are healed
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """A client's call. `result` is "ok", "fail" or "unknown"; a run's id where one was told."""

    begun_at: float
    ended_at: float
    what: str
    result: str
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault's time: `ended_at` None where it was never healed. `host` "" is the daemon."""

    begun_at: float
    ended_at: float | None
    name: str
    host: str = ""


@dataclass(frozen=True, slots=True)
class GrantSeen:
    """The referee's word: GPUs given to a container, and which living ones held them."""

    at: float
    host: str
    container: str
    attempt_id: str
    gpus: tuple[str, ...]
    holders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DockerCall:
    """A call that reached dockerd: "create", "start", "kill", "remove", and its status."""

    at: float
    host: str
    what: str
    name: str
    """Of the container, or its id."""
    status: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What the product said when asked: host -> its condition, and how many GPUs it calls free."""

    at: float
    conditions: Mapping[str, str]
    free: Mapping[str, int]
    told_at: float = 0.0
    """When the answer was there: seconds later, where no daemon was left to ask."""

    @property
    def until(self) -> float:
        """The last moment that the answer may speak of."""
        return max(self.at, self.told_at)


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Something that left a request to a service without an answer, while one was promised."""

    at: float
    service: str
    what: str


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """An attempt as the database has it at the end."""

    attempt_id: str
    run_id: str
    stage: str
    number: int
    phase: str
    host: str
    exit_code: int | None
    signal: int | None = None
    cause: str | None = None
    launched_at: float | None = None
    finished_at: float | None = None
    placed_at: float | None = None
    """All three by the daemon's clock; None, where a history of before did not note it."""
    ready_at: float | None = None
    """Of a replica of a service: when it answered first."""


@dataclass(frozen=True, slots=True)
class ContainerEnd:
    """A container of Hostler's as its host lists it at the end, or a process that lives there."""

    host: str
    name: str
    attempt_id: str
    running: bool


@dataclass(frozen=True, slots=True)
class TrueExit:
    """How a container really ended, by the runtime or by what it wrote itself."""

    attempt_id: str
    exit_code: int
    oom_killed: bool = False
    at: float | None = None
    """When, as its teller says: the hosts of a lab have this machine's clock."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a stage wrote down itself, of which no runtime tells: that it begins, or with which code
    it is about to end."""

    at: float
    host: str
    attempt_id: str
    exit_code: int | None = None
    """None: it begins."""


@dataclass(frozen=True, slots=True)
class CanaryEnd:
    """Somebody's own container or process, and whether it is the same one, alive, at the end."""

    host: str
    what: str
    alive: bool
    gpu: str = ""
    """That it uses, and that nothing else may be given."""


@dataclass(frozen=True, slots=True)
class SlotGivenBack:
    """A release gave up the place of a replica with its GPUs: it takes over with fewer."""

    run_id: str
    stage: str
    at: float


@dataclass(frozen=True, slots=True)
class ServiceEnd:
    """A service after all faults were healed and no release of it was open any more."""

    name: str
    wanted: int
    """Replicas."""
    running: tuple[str, ...]
    """Attempts of all its releases that were really there."""
    problem: str = ""
    """Why it did not come to rest; "": it did."""
    runs: tuple[str, ...] = ()
    """Of its releases: GPUs pass from one to the next."""
    given_back: tuple[SlotGivenBack, ...] = ()
    """By steps that were stored, on its own decision."""


@dataclass(frozen=True, slots=True)
class Final:
    """The end: all faults healed, and time given to recover."""

    at: float
    runs: Mapping[str, str | None]
    """Run id -> outcome; None for a run that is open."""
    attempts: tuple[AttemptEnd, ...]
    containers: tuple[ContainerEnd, ...]
    exits: tuple[TrueExit, ...] = ()
    canaries: tuple[CanaryEnd, ...] = ()
    told: tuple[Told, ...] = ()
    telling: tuple[str, ...] = ()
    """Names of the stages that tell of themselves: of theirs, what is not told did not happen."""
    services: tuple[ServiceEnd, ...] = ()


@dataclass
class History:
    """Everything that was recorded."""

    calls: list[Call] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    grants: list[GrantSeen] = field(default_factory=list)
    docker: list[DockerCall] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    unanswered: list[Unanswered] = field(default_factory=list)
    final: Final | None = None


_KINDS: dict[str, tuple[type[Any], str]] = {
    "call": (Call, "calls"), "fault": (Fault, "faults"), "grant": (GrantSeen, "grants"),
    "docker": (DockerCall, "docker"), "sample": (Sample, "samples"),
    "unanswered": (Unanswered, "unanswered"),
}  # fmt: skip


class Recorder:
    """Appends entries to a file; safe to use from threads, whole lines only."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()
        self._open = itertools.count()

    def add(self, entry: Any) -> None:
        """One entry of any kind."""
        kind = next((k for k, (made, _) in _KINDS.items() if isinstance(entry, made)), "final")
        line = json.dumps({"kind": kind, **asdict(entry)})
        with self._lock, self.file.open("a") as file:
            file.write(line + "\n")

    @contextmanager
    def fault(self, name: str, host: str = "") -> Iterator[None]:
        """A fault from the block's begin to its end. What ends it has to be inside."""
        begun = time.time()
        try:
            yield
        finally:
            self.add(Fault(begun, time.time(), name, host))


def read(file: Path) -> History:
    """A history from its file."""
    history = History()
    for line in file.read_text().splitlines():
        entry = json.loads(line)
        kind = entry.pop("kind")
        if kind == "final":
            history.final = _final(entry)
            continue
        made, member = _KINDS[kind]
        for key in ("gpus", "holders"):
            if key in entry:
                entry[key] = tuple(entry[key])
        getattr(history, member).append(made(**entry))
    return history


def _final(entry: dict[str, Any]) -> Final:
    return Final(
        at=entry["at"],
        runs=entry["runs"],
        attempts=tuple(AttemptEnd(**item) for item in entry["attempts"]),
        containers=tuple(ContainerEnd(**item) for item in entry["containers"]),
        exits=tuple(TrueExit(**item) for item in entry["exits"]),
        canaries=tuple(CanaryEnd(**item) for item in entry.get("canaries", ())),
        told=tuple(Told(**item) for item in entry.get("told", ())),
        telling=tuple(entry.get("telling", ())),
        services=tuple(_service(item) for item in entry.get("services", ())),
    )


def _service(item: dict[str, Any]) -> ServiceEnd:
    lists: dict[str, Any] = {key: tuple(item[key]) for key in ("running", "runs")}
    slots = tuple(SlotGivenBack(**slot) for slot in item.get("given_back", ()))
    return ServiceEnd(**{**item, **lists, "given_back": slots})
