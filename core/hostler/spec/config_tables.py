"""The tables of config.toml, as pydantic models. Defaults are those of `model.config`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from hostler.model.config import DaemonConfig, HostConfig, LimitsConfig
from hostler.model.plans import Policy
from hostler.spec import later
from hostler.spec.tables import Labels, Table, choice
from hostler.spec.values import (
    Absolute,
    Duration,
    Env,
    FilePath,
    Python,
    Size,
    Some,
    Switch,
    Target,
    Word,
    plain,
    read_duration,
    read_size,
    read_words,
    whole,
)

_DAEMON = DaemonConfig()
_HOST = HostConfig("")
_LIMITS = LimitsConfig()
_POLICY = Policy()


def _read_age(value: object) -> float | None:
    return None if value == "forever" else read_duration(value)


def _read_limit(value: object) -> int | None:
    return None if value == "none" else read_size(value)


def _read_runtimes(value: object) -> list[str]:
    words = read_words(value)
    for word in words:
        if word not in ("docker", "process"):
            raise ValueError(f"'{word[:40]}' should be docker or process")
    return list(dict.fromkeys(words))


Age = Annotated[float | None, *plain(_read_age, {"type": "string", "examples": ["90d", "forever"]})]
SizeOrNone = Annotated[
    int | None, *plain(_read_limit, {"type": "string", "examples": ["500GiB", "none"]})
]
Runtimes = Annotated[
    list[str],
    *plain(_read_runtimes, {"type": "array", "items": {"enum": ["docker", "process"]}}),
]


class HostTable(Table):
    """One host, or with a range like `[hosts."gpu[01-12]"]` several. It may be empty."""

    later: ClassVar[dict[str, str]] = later.HOST

    transport: Annotated[str, *choice("ssh", "local")] = _HOST.transport
    """How it is reached: by SSH, or as this machine itself."""
    address: Target | None = None
    """Name or address to connect to; `{name}` is the host's name. Left out: that name, as your
    ssh_config resolves it."""
    port: Annotated[int, *whole(1, 65535)] | None = None
    """SSH port. Left out: ssh_config's, else 22."""
    user: Target | None = None
    """Login. Left out: ssh_config's, else yours."""
    key: FilePath | None = None
    """Private key. Left out: ssh_config's, the SSH agent's and the usual files."""
    jump: Target | None = None
    """Host to go through, `user@host:port`; "none" switches off ssh_config's."""
    python: Python = _HOST.python
    """Python 3.8 or newer that runs the agent there."""
    labels: Labels = Field(default_factory=dict)
    """Words that stages ask for by `resources.labels`."""
    cpus: Annotated[int, *whole(1, 4096)] | None = None
    """CPUs Hostler may plan with. Left out: all."""
    ram: Size | None = None
    """Memory Hostler may plan with. Left out: all."""
    runtimes: Runtimes = Field(default_factory=lambda: list(_HOST.runtimes))
    """What may run there."""
    docker_socket: Absolute | None = None
    """Docker's socket on the host. Left out: the usual places."""
    env: Env = Field(default_factory=dict)
    """Variables for every stage on this host."""


class DaemonTable(Table):
    """Where the daemon lives and how it watches."""

    later: ClassVar[dict[str, str]] = later.DAEMON

    state: FilePath | None = None
    """Folder of the database and of kept files; a local disk."""
    socket: FilePath | None = None
    """The Unix socket that clients use."""
    group: Target | None = None
    """Unix group that may use the socket. Left out: its owner alone."""
    allow: Some = Field(default_factory=list)
    """Unix users who may use this daemon beside its owner and root."""
    operators: Some = Field(default_factory=list)
    """Unix users who may use this daemon, and drain hosts, acknowledge alerts and free space."""
    look_interval: Duration = _DAEMON.look_interval
    """Pause between looks at a host."""
    look_timeout: Duration = _DAEMON.look_timeout
    """A look that takes longer is given up."""
    connect_timeout: Duration = _DAEMON.connect_timeout
    """A connection and login that takes longer is given up."""


class PolicyTable(Table):
    """When a GPU counts as free."""

    fresh_for: Duration = _POLICY.fresh_for
    """A host whose last look is older gets no new work."""
    memory_floor: Size = _POLICY.memory_floor
    """A GPU with more memory in use is not free, whoever uses it."""
    ignore: Some = Field(default_factory=lambda: list(_POLICY.ignore))
    """Programs that may sit on a free GPU."""
    release_patience: Duration = _POLICY.release_patience
    """How long a GPU may take to give its memory back before it is quarantined."""


class MountTable(Table):
    """A folder of the hosts that stages may name in `mounts`."""

    path: Absolute
    """The folder, the same on every host and inside containers."""
    mode: Annotated[str, *choice("ro", "rw")] = "ro"
    """Read only, or read and write."""
    default: Switch = False
    """Every stage has it without asking."""


class SharedTable(Table):
    """Folders that all hosts see as one (NFS and the like)."""

    paths: list[Absolute] = Field(default_factory=list)
    """What lies there is used in place, not copied."""


class DockerTable(Table):
    """Containers."""

    network: Target | None = None
    """Docker network of every container, like "host". Left out: the engine's default."""
    shm: Size | None = None
    """Shared memory (/dev/shm) of a container whose stage names none. Left out: half its memory."""


class LimitsTable(Table):
    """What is refused, cut or removed, and when."""

    source_size: Size = _LIMITS.source_size
    """Of the source tree of a run, packed."""
    source_file: Size = _LIMITS.source_file
    """Of one file in it."""
    output_size: Size = _LIMITS.output_size
    """Of one output of a stage."""
    log_size: Size = _LIMITS.log_size
    """Of the log of an attempt; the oldest part is dropped."""
    keep_logs: Duration = _LIMITS.keep_logs
    """Logs, after the end of their run."""
    keep_outputs: Duration = _LIMITS.keep_outputs
    """Outputs, after the end of their run."""
    keep_sources: Duration = _LIMITS.keep_sources
    """Sources, after the end of the last run that used them."""
    keep_history: Age = _LIMITS.keep_history
    """Runs, attempts and events; "forever" keeps them."""
    host_cache: Size = _LIMITS.host_cache
    """Of the cache on each host."""
    kept_files: Size = _LIMITS.kept_files
    """Of the undeclared files of a run that are copied from the hosts."""
    keep_jobs: Duration = _LIMITS.keep_jobs
    """Files that are not copied, on their host, after the end of their stage."""
    kept_on_host: Size = _LIMITS.kept_on_host
    """Of the files kept on each host; a host with more starts no stage that keeps files."""
    kept_in_store: SizeOrNone = _LIMITS.kept_in_store
    """Of outputs, kept files and sources on the daemon's machine; with more, no stage that keeps
    files starts. "none": no limit."""


class ConfigTable(Table):
    """config.toml."""

    later: ClassVar[dict[str, str]] = later.CONFIG

    hosts: dict[str, HostTable] = Field(default_factory=dict)
    """The hosts by name. None at all: this machine, as `local`."""
    daemon: DaemonTable = Field(default_factory=DaemonTable)
    """Where the daemon lives and how it watches."""
    policy: PolicyTable = Field(default_factory=PolicyTable)
    """When a GPU counts as free."""
    limits: LimitsTable = Field(default_factory=LimitsTable)
    """What is refused, cut or removed, and when."""
    mounts: dict[Word, MountTable] = Field(default_factory=dict)
    """Folders that stages may name."""
    shared: SharedTable = Field(default_factory=SharedTable)
    """Folders that all hosts see as one."""
    docker: DockerTable = Field(default_factory=DockerTable)
    """Containers."""
    env: Env = Field(default_factory=dict)
    """Variables for every stage on every host."""
