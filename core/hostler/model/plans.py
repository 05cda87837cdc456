"""Input and output of the planner: a snapshot in, actions and reasons out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hostler.model.config import Policy as Policy
from hostler.model.hosts import Host, Workload
from hostler.model.pipelines import Cause, Stage
from hostler.model.reasons import HostReason as HostReason
from hostler.model.reasons import PreviewLine as PreviewLine
from hostler.model.reasons import Reason as Reason
from hostler.model.reasons import Remedy as Remedy
from hostler.model.reasons import RemedyKind as RemedyKind
from hostler.model.runs import Attempt, Outcome, Phase, Run
from hostler.model.time_limits import Warn

if TYPE_CHECKING:  # loaded where there is a service that was deployed
    from hostler.model.releases import NewStep, Server, ServiceState


@dataclass(frozen=True, slots=True)
class Ailment:
    """A host cannot start stages of one runtime: the problem, and the time of the next try."""

    why: str
    since: float
    pause: float
    """Seconds from the last failed try to the next."""
    probe_at: float
    """From this time on one stage at a time may be tried there."""
    gpus_only: bool = False
    """Stages without GPUs may start there."""
    owners: frozenset[str] = frozenset()
    """Users whose stages failed there: other users' stages come first."""
    images: frozenset[str] = frozenset()
    """Images of stages that failed there ("" without an image): other images come first."""
    head_start: float = 60.0
    """For at most so many seconds the others come first."""


@dataclass(frozen=True, slots=True)
class Stray:
    """An attempt uses a GPU that it was not given."""

    gpu: str
    """UUID."""
    where: str
    """For people: "on GPU 0 of gpu1, which it was not given (given: GPU 2): ...", with the cause
    and what to do."""
    computes: bool
    """It has computed there for a while; else it only holds memory."""
    ends: bool
    """Whether to stop it for this, if the policy says so."""


Site = tuple[str, str]
"""Host and runtime."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a decision may depend on. It uses no clock, disk or network."""

    now: float
    daemon_id: str
    hosts: tuple[Host, ...]
    runs: tuple[Run, ...]
    """Those without an outcome, oldest first."""
    in_flight: frozenset[str] = frozenset()
    """Keys of actions that the daemon is carrying out (`Action.key`)."""
    refused: Mapping[str, float] = field(default_factory=dict)
    """Host -> when it last refused a claim, or accepted one of an attempt that has ended since: it
    gets no work until there is a newer look."""
    ailing: Mapping[Site, Ailment] = field(default_factory=dict)
    """Hosts and runtimes where no stage starts for now."""
    lately: Mapping[str, float] = field(default_factory=dict)
    """Attempt -> when it ended, for recently ended ones, including those of ended runs."""
    policy: Policy = field(default_factory=Policy)
    begun_at: float = -math.inf
    """When this daemon began."""
    earlier: frozenset[str] = frozenset()
    """Attempts whose times an earlier daemon stored, by its own clock."""
    ended: Mapping[str, float] = field(default_factory=dict)
    """Those of them that have ended since, and when."""
    kept_on_host: int | None = None
    """Bytes of kept files over which a host gets no stage that keeps files; None: no limit."""
    keeps_most: Mapping[str, str] = field(default_factory=dict)
    """Host -> the owner of most of what it keeps."""
    strays: Mapping[str, Stray] = field(default_factory=dict)
    """Attempt -> the GPU that it uses but was not given."""
    store_full: str | None = None
    """Why no stage that keeps files may start on any host; None: the store has room."""
    restored: frozenset[str] = frozenset()
    """Runs from before the restore from a backup: hosts that are not merged yet may have attempts
    of them."""
    unsure: frozenset[str] = frozenset()
    """Hosts of the config that are not merged yet, whether they answer or not."""
    halted: str = ""
    """Why the daemon has stopped acting, in one sentence; "": work continues."""
    in_setup: frozenset[str] = frozenset()
    """Attempts whose setup runs: their command cannot run yet."""
    services: tuple[ServiceState, ...] = ()
    """The deployed services."""
    at_gateway: Mapping[str, Server] = field(default_factory=dict)
    """Attempt -> its server, for all services, by the gateway's last look if that is fresh."""
    unheard: frozenset[str] = frozenset()
    """Runs whose gateway is silent."""
    images: frozenset[str] = frozenset()
    """Ids of images that the daemon keeps for hosts."""
    near: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """Run and stage -> hosts that had the image it starts with at its submission."""


@dataclass(frozen=True, slots=True)
class Start:
    """Place a new attempt: write the intent, claim, create, start."""

    attempt: Attempt
    stage: Stage
    why: str
    """One sentence: why on this host."""
    until_bound: bool = False
    """Claim, create and bind, but do not start yet: its group starts together."""

    @property
    def key(self) -> str:
        """One of each at a time."""
        return f"start:{self.attempt.attempt_id}"


@dataclass(frozen=True, slots=True)
class Resume:
    """An attempt whose intent is durable but whose start was cut short by a restart of the daemon:
    carry the start out again (a 409 is success), or find that it cannot be."""

    attempt: Attempt
    stage: Stage
    until_bound: bool = False
    """As in `Start`. Once all of its group are bound, the start is carried out to its end."""

    @property
    def key(self) -> str:
        """The same as the start it continues."""
        return f"start:{self.attempt.attempt_id}"


@dataclass(frozen=True, slots=True)
class Record:
    """Write what is known about an attempt. A final phase carries a cause unless it succeeded."""

    attempt_id: str
    phase: Phase
    cause: Cause | None = None
    detail: str = ""
    workload: Workload | None = None
    """The workload, if a look showed it."""

    @property
    def key(self) -> str:
        """One of each at a time."""
        return f"record:{self.attempt_id}"


@dataclass(frozen=True, slots=True)
class Finish:
    """The workload exited: take the last log lines and metrics, write its verdict, which gives its
    GPUs back, then take its files and record the end. If it is already collecting: continue."""

    attempt: Attempt
    stage: Stage
    workload: Workload
    boot_id: str | None = None
    """Of the host when the end was seen: other than the attempt's means it rebooted between."""

    @property
    def key(self) -> str:
        """One of each at a time."""
        return f"finish:{self.attempt.attempt_id}"


@dataclass(frozen=True, slots=True)
class Conclude:
    """The files of an attempt that is being collected are not, or no longer, available: record its
    end with the files that were copied."""

    attempt: Attempt
    stage: Stage
    why: str
    is_lost: bool = False
    """Its host counts as lost, as the stage says."""

    @property
    def key(self) -> str:
        """The same as what it ends."""
        return f"finish:{self.attempt.attempt_id}"


@dataclass(frozen=True, slots=True)
class SendWarning:
    """Warn a running stage by a signal that its time limit is near. Once for each attempt."""

    attempt: Attempt
    workload: Workload
    warn: Warn

    @property
    def key(self) -> str:
        """One of each at a time."""
        return f"warn:{self.attempt.attempt_id}"


@dataclass(frozen=True, slots=True)
class MarkReady:
    """A replica of a service has answered for the first time: store that."""

    attempt: Attempt
    port: int | None
    address: str | None = None

    @property
    def key(self) -> str:
        """One of each at a time."""
        return f"ready:{self.attempt.attempt_id}"


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask a running workload to end: TERM, grace, KILL. A later look shows the end itself."""

    host: str
    workload: Workload
    cause: Cause
    detail: str
    grace: float

    @property
    def key(self) -> str:
        """One of each at a time."""
        return f"stop:{self.host}:{self.workload.attempt_id}"


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove an ended workload of ours that no open attempt needs."""

    host: str
    workload: Workload

    @property
    def key(self) -> str:
        """One of each at a time."""
        return f"remove:{self.host}:{self.workload.attempt_id}"


@dataclass(frozen=True, slots=True)
class Release:
    """Give GPUs back: their attempt is final, nothing of it runs, and their memory is back."""

    host: str
    lease_ids: tuple[str, ...]
    attempt_id: str | None

    @property
    def key(self) -> str:
        """One of each at a time."""
        return f"release:{self.host}:{','.join(self.lease_ids)}"


@dataclass(frozen=True, slots=True)
class EndService:
    """The time of a service is up: note that it is no longer wanted."""

    run_id: str
    base: str
    """Its name in the pipeline file."""

    @property
    def key(self) -> str:
        """One of each at a time."""
        return f"service:{self.run_id}.{self.base}"


@dataclass(frozen=True, slots=True)
class TakeStep:
    """Store a step of a release. Later plans then do what the step allows."""

    step: NewStep

    @property
    def key(self) -> str:
        """One of each at a time."""
        return f"step:{self.step.service}"


@dataclass(frozen=True, slots=True)
class EndRun:
    """Every stage is final."""

    run_id: str
    outcome: Outcome

    @property
    def key(self) -> str:
        """One of each at a time."""
        return f"end:{self.run_id}"


Action = (
    Start
    | Resume
    | Record
    | Finish
    | Conclude
    | SendWarning
    | MarkReady
    | Stop
    | Remove
    | Release
    | EndService
    | TakeStep
    | EndRun
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions for now, and the reason for every waiting stage."""

    actions: tuple[Action, ...]
    reasons: Mapping[tuple[str, str], Reason]
    """(run id, stage name) -> reason."""
    releases: Mapping[str, str] = field(default_factory=dict)
    """Service -> why its open release waits."""
    wake_at: float | None = None
    """When time alone changes the plan (back-off, time limit); None: only events change it."""
