"""What config.toml says, after it was read: hosts, and how the daemon treats them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.base.units import GIB, MIB
from hostler.model.plans import Policy

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class HostConfig:
    """One host. What is None is left to ssh_config, or to what the host says of itself."""

    name: str
    transport: str = "ssh"
    """"ssh", or "local": this machine, without SSH."""
    address: str | None = None
    """Name or address to connect to, also an alias of ssh_config; None: the host's name."""
    port: int | None = None
    user: str | None = None
    key: str | None = None
    """Path of a private key on the daemon's machine; `~` is not yet expanded."""
    jump: str | None = None
    """Another host (`[user@]host[:port]`) through which this one is reached."""
    python: str = "python3"
    """The Python (3.8 or newer) that runs the agent there: a name on PATH, or a path."""
    labels: Mapping[str, str] = field(default_factory=dict)
    cpus: int | None = None
    """CPUs to plan with; None: all of them."""
    ram: int | None = None
    """Bytes to plan with; None: all of it."""
    runtimes: tuple[str, ...] = ("docker", "process")
    """Those allowed here; which of them work is found out."""
    docker_socket: str | None = None
    """Path on the host; None: the usual places are tried."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables for every stage on this host; they win over `Config.env`."""

    @property
    def target(self) -> str:
        """What SSH is asked to connect to."""
        return self.address or self.name


@dataclass(frozen=True, slots=True)
class MountConfig:
    """A folder of the hosts that stages may ask for by name."""

    name: str
    path: str
    """Absolute; the same inside containers."""
    read_only: bool = True
    default: bool = False
    """Every stage gets it without asking."""


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """Where the daemon lives and how it watches."""

    state: str | None = None
    """Folder of the database; None: chosen by where this machine keeps local state."""
    socket: str | None = None
    """None: in /run/hostler where others may use the daemon, else in the state folder."""
    group: str | None = None
    """Unix group that may use the socket (0660); None: its owner alone (0600)."""
    allow: tuple[str, ...] = ()
    """Unix users who may use this daemon beside its owner and root."""
    operators: tuple[str, ...] = ()
    """Unix users who may use it, drain hosts, acknowledge alerts and free space as its owner."""
    look_interval: float = 2.0
    """Seconds between looks at a host."""
    look_timeout: float = 5.0
    """Seconds after which a look counts as unanswered."""
    connect_timeout: float = 10.0
    """Seconds to connect and log in."""


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """Sizes in bytes and ages in seconds beyond which something is refused, cut or removed."""

    source_size: int = 256 * MIB
    """Of the packed source tree of a run."""
    source_file: int = 32 * MIB
    """Of one file in it."""
    output_size: int = 20 * GIB
    """Of one declared output."""
    log_size: int = GIB
    """Of the log of one attempt; the oldest part is dropped with a note."""
    keep_logs: float = 90 * DAY
    """After the end of a run."""
    keep_outputs: float = 30 * DAY
    """After the end of a run."""
    keep_sources: float = 90 * DAY
    """Source snapshots, after the end of the last run that used them."""
    keep_history: float | None = None
    """Runs, attempts and events in the database; None: for ever."""
    host_cache: int = 20 * GIB
    """Of the cache that the agent keeps on each host."""
    kept_files: int = 2 * GIB
    """Of the files of one run that are copied without being declared as outputs."""
    keep_jobs: float = 7 * DAY
    """Files that stay on their host, after the end of their stage."""
    kept_on_host: int = 50 * GIB
    """Of the files that stay on one host; over it, no stage that keeps files starts there."""
    kept_in_store: int | None = None
    """Of all that the daemon's machine keeps; over it, no stage that keeps files starts."""


def local_host() -> HostConfig:
    """This machine without SSH: the one host where no config names any."""
    return HostConfig(name="local", transport="local")


@dataclass(frozen=True, slots=True)
class Config:
    """All of config.toml. `Config()` is what holds without any file."""

    hosts: tuple[HostConfig, ...] = field(default_factory=lambda: (local_host(),))
    """In the order of the file; names are unique."""
    daemon: DaemonConfig = field(default_factory=DaemonConfig)
    policy: Policy = field(default_factory=Policy)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    mounts: tuple[MountConfig, ...] = ()
    """Names are unique."""
    shared_paths: tuple[str, ...] = ()
    """Absolute folders that every host sees as the same folder (NFS and the like)."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables for every stage on every host (proxies, caches)."""
    docker_network: str | None = None
    """Docker network of every container; None: the engine's default."""
    docker_shm: int | None = None
    """Bytes of /dev/shm of a container whose stage names none; None: half its memory."""

    def host(self, name: str) -> HostConfig | None:
        """The host of that name, None if there is none."""
        return next((host for host in self.hosts if host.name == name), None)

    def env_of(self, host: str) -> dict[str, str]:
        """The variables every stage gets on that host."""
        found = self.host(host)
        return {**self.env, **(found.env if found else {})}
