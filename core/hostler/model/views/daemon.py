"""The daemon's version, state and generation, in the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftBehindView:
    """Runs on hosts that this daemon's database does not have."""

    runs: tuple[str, ...] = ()
    """Ids of the first of them."""
    count: int = 0
    hosts: tuple[str, ...] = ()
    made_anew: bool = False
    """Whether the database was made at this start, in a folder that a daemon had used before."""
    daemons: tuple[str, ...] = ()
    """Other daemons of this login that have runs there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationView:
    """The generation of a daemon, and whether a newer one exists."""

    number: int = 0
    restored_at: float | None = None
    superseded_by: int | None = None
    halted: str = ""
    """Why it plans nothing any more; "": it plans as usual."""
    unmerged: tuple[str, ...] = ()
    """Hosts whose notes since the backup are not merged yet."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Host -> why its notes cannot be merged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmView:
    """Words of Slurm's batch scripts, and the labels of hosts that they mean here."""

    partitions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    features: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonView:
    """The daemon that answered."""

    api: int = 0
    version: str = ""
    daemon_id: str = ""
    pid: int = 0
    started_at: float = 0.0
    state: str = ""
    """Its state folder."""
    ssh_agent: str | None = None
    open_runs: int = 0
    left_behind: LeftBehindView | None = None
    generation: GenerationView = field(default_factory=GenerationView)
    simulated: bool = False
    local: bool | None = None
    """Whether its own machine is its only host; None: unknown, from an older daemon."""
    gpus: int | None = 0
    """GPUs of all hosts; None until each host has answered or failed once since the daemon's
    start."""
    slurm: SlurmView = field(default_factory=SlurmView)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAgentView:
    """The SSH agent that the daemon now uses."""

    socket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """The confirmation that the daemon stops."""

    stopping: bool = True
