"""A try of a stage, and the origin of its code, as values for store, socket and SDK. A client that
shows runs loads these and not the whole model, which takes four times as long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.base.json_types import Scalar


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One try of a stage, as it crosses the socket: a newer daemon may have other phases and
    causes. `host`, `gpus`, `placed_at` have no defaults: decisions read them."""

    attempt_id: str
    """`RUN-STAGE-NUMBER`: also names the container, so that a repeated create is a 409."""
    run_id: str
    stage: str
    number: int
    """From 1."""
    phase: str
    host: str
    gpus: tuple[str, ...]
    """UUIDs."""
    placed_at: float
    runtime: str
    launched_at: float | None = None
    """When create and start had returned. Only a newer look proves anything about the attempt."""
    ref: str | None = None
    boot_id: str | None = None
    """The host's boot id when it was placed: a different one later means the host rebooted."""
    started_at: float | None = None
    finished_at: float | None = None
    duration: float | None = None
    """Seconds, from one clock, the host's."""
    exit_code: int | None = None
    signal: int | None = None
    cause: str | None = None
    detail: str = ""
    """For people: the exact problem, who stopped it, which GPU process blocked it."""
    stop_reason: str | None = None
    """Why a stop was requested; set before the stop is carried out."""
    stop_detail: str = ""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """The last value of each metric the stage wrote; None: not a finite number."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Output name -> artifact digest, once collected; only of a stage that succeeded."""
    image_digest: str | None = None
    usage: Mapping[str, float | None] = field(default_factory=dict)
    """gpu_seconds_allocated, gpu_seconds_busy, gpu_memory_peak, gpu_utilization_mean, energy_wh,
    each where it could be measured."""
    verdict: str | None = None
    """The final phase that it gets when its files are copied; cause, detail and times of its end
    are written with it."""
    warned_at: float | None = None
    """When the daemon decided to warn it of its time limit: set before the request to its host."""
    warning: str = ""
    """For people: which process got the signal, or why none did; "" until its host has answered."""
    ready_at: float | None = None
    """Of a service: when it had first answered its health check, and its warm-up."""
    port: int | None = None
    """Of a service: its port on its host."""
    address: str | None = None
    """The address of the host for that port; None: its loopback."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the code of a run came from."""

    digest: str | None = None
    """Of the packed snapshot; None: none was packed."""
    path: str | None = None
    """The folder it was packed from, on the submitter's machine."""
    git_commit: str | None = None
    git_branch: str | None = None
    git_dirty: bool = False
    git_diff: str | None = None
    """Of the dirty tree against the commit; cut at 1 MiB."""
    include: tuple[str, ...] = ()
    """Paths and patterns that were sent although git or `.hostlerignore` leaves them out."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The code and parameters with which an earlier run made the stages that a retry keeps."""

    source: Source = field(default_factory=Source)
    params: Mapping[str, Scalar] = field(default_factory=dict)
