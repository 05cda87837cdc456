"""The keys of config.toml: hosts, [daemon] (pause between looks), [policy] (tolerated programs,
memory of a free GPU), [limits] (sizes, days), [slurm].

Each key is defined here and nowhere else: its kind, its default, and the help text of an editor.
The reader, the JSON Schema, `hostler config show` and `hostler init` derive from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.base.keys import list_of, table_of, tables_of, toml_key
from hostler.base.units import GIB, MIB
from hostler.base.value_kinds import (
    ABSOLUTE,
    AGE,
    DURATION,
    ENV,
    FILE,
    LABELS,
    LABELS_BY_NAME,
    LAN_ADDRESS,
    PYTHON,
    READ_ONLY,
    SIZE,
    SIZE_OR_NONE,
    SOME,
    SWITCH,
    TARGET,
    WORD,
    choice,
    some_of,
    whole,
)
from hostler.model.docker_config import DockerConfig
from hostler.model.gateway_config import GatewayConfig
from hostler.model.packages import PackagesConfig
from hostler.model.runtimes import NAMES

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class HostConfig:
    """One host, or with a range like `[hosts."gpu[01-12]"]` several. It may be empty."""

    name: str
    transport: str = field(
        default="ssh",
        metadata=toml_key(
            choice("ssh", "local"), "How to reach it: by SSH, or as this machine itself."
        ),
    )
    address: str | None = field(
        default=None,
        metadata=toml_key(
            TARGET,
            "Name or address to connect to; `{name}` is the host's name. Default: that name, as "
            "your ssh_config resolves it.",
        ),
    )
    port: int | None = field(
        default=None,
        metadata=toml_key(whole(1, 65535), "SSH port. Default: ssh_config's, else 22."),
    )
    user: str | None = field(
        default=None, metadata=toml_key(TARGET, "Login. Default: ssh_config's, else yours.")
    )
    key: str | None = field(
        default=None,
        metadata=toml_key(
            FILE, "Private key. Default: ssh_config's, the SSH agent's and the usual files."
        ),
    )
    """`~` is not yet expanded."""
    jump: str | None = field(
        default=None,
        metadata=toml_key(
            TARGET, 'Jump host, `user@host:port`; "none" switches off ssh_config\'s.'
        ),
    )
    python: str = field(
        default="python3",
        metadata=toml_key(PYTHON, "Python 3.8 or newer that runs the agent there."),
    )
    labels: Mapping[str, str] = field(
        default_factory=dict,
        metadata=toml_key(LABELS, "Labels that stages require by `resources.labels`."),
    )
    cpus: int | None = field(
        default=None,
        metadata=toml_key(whole(1, 4096), "CPUs Hostler may plan with. Default: all."),
    )
    ram: int | None = field(
        default=None, metadata=toml_key(SIZE, "Memory Hostler may plan with. Default: all.")
    )
    runtimes: tuple[str, ...] = field(
        default=NAMES, metadata=toml_key(some_of(*NAMES), "Runtimes that are allowed there.")
    )
    """The daemon finds out which of them work."""
    docker_socket: str | None = field(
        default=None,
        metadata=toml_key(ABSOLUTE, "Docker's socket on the host. Default: the usual paths."),
    )
    env: Mapping[str, str] = field(
        default_factory=dict, metadata=toml_key(ENV, "Variables for every stage on this host.")
    )
    """They win over `Config.env`."""
    reach: str = field(
        default="ssh",
        metadata=toml_key(
            choice("ssh", "lan", "none"),
            "How a gateway on another host reaches replicas of services there: by its own login's "
            "ssh, at `lan_address` (then everybody on that network reaches them), or not at all.",
        ),
    )
    lan_address: str | None = field(
        default=None,
        metadata=toml_key(
            LAN_ADDRESS,
            'IP address of that host at which containers are published with reach = "lan".',
        ),
    )

    @property
    def published_at(self) -> str | None:
        """Where containers of services are published; None: on the loopback."""
        return self.lan_address if self.reach == "lan" else None

    @property
    def target(self) -> str:
        """The target of SSH connections."""
        return self.address or self.name


@dataclass(frozen=True, slots=True)
class MountConfig:
    """A folder of the hosts that stages may name in `mounts`."""

    name: str
    path: str = field(
        metadata=toml_key(ABSOLUTE, "The folder, the same on every host and inside containers.")
    )
    read_only: bool = field(
        default=True, metadata=toml_key(READ_ONLY, "Read only, or read and write.", name="mode")
    )
    default: bool = field(
        default=False, metadata=toml_key(SWITCH, "Every stage gets it, without naming it.")
    )


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """Where the daemon lives and how it watches."""

    state: str | None = field(
        default=None,
        metadata=toml_key(FILE, "Folder of the database and of kept files; a local disk."),
    )
    """None: chosen by the usual place of local state on this machine."""
    socket: str | None = field(
        default=None, metadata=toml_key(FILE, "The Unix socket that clients use.")
    )
    """None: in /run/hostler if others may use the daemon, else in the state folder."""
    group: str | None = field(
        default=None,
        metadata=toml_key(TARGET, "Unix group that may use the socket. Default: only its owner."),
    )
    allow: tuple[str, ...] = field(
        default=(),
        metadata=toml_key(SOME, "Unix users who may use this daemon beside its owner and root."),
    )
    operators: tuple[str, ...] = field(
        default=(),
        metadata=toml_key(
            SOME,
            "Unix users who may use this daemon, and drain hosts, acknowledge alerts and free "
            "space.",
        ),
    )
    look_interval: float = field(
        default=2.0, metadata=toml_key(DURATION, "Pause between looks at a host.")
    )
    look_timeout: float = field(
        default=5.0, metadata=toml_key(DURATION, "A look that takes longer is cancelled.")
    )
    connect_timeout: float = field(
        default=10.0,
        metadata=toml_key(DURATION, "A connection and login that takes longer is cancelled."),
    )

    @property
    def is_shared(self) -> bool:
        """Whether users other than the daemon's owner may use it."""
        return bool(self.group or self.allow or self.operators)


@dataclass(frozen=True, slots=True)
class Policy:
    """When a GPU counts as free, and which users' processes run where."""

    fresh_for: float = field(
        default=10.0,
        metadata=toml_key(DURATION, "A host whose last look is older gets no new work."),
    )
    """Its GPUs are unknown then."""
    memory_floor: int = field(
        default=GIB,
        metadata=toml_key(SIZE, "A GPU with more memory in use is not free, whoever uses it."),
    )
    ignore: tuple[str, ...] = field(
        default=(
            "Xorg", "Xwayland", "gnome-shell", "kwin_x11", "kwin_wayland", "gdm-x-session",
            "plasmashell", "nvidia-persistenced",
        ),
        metadata=toml_key(SOME, "Programs that may use a GPU that counts as free."),
    )  # fmt: skip
    release_patience: float = field(
        default=120.0,
        metadata=toml_key(
            DURATION,
            "How long a GPU's memory may stay in use after a stage before the GPU is quarantined.",
        ),
    )
    strays: str = field(
        default="stop",
        metadata=toml_key(
            choice("stop", "tell"),
            "A stage without an image that computes on a GPU that it was not given is stopped, or "
            "only reported.",
        ),
    )
    processes: str = field(
        default="guarded",
        metadata=toml_key(
            choice("guarded", "trusted"),
            "On a shared daemon: processes take no secrets, and those of members do not run on its "
            'own machine or the gateway\'s. "trusted": they do.',
        ),
    )


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """Limits for refusals, cuts and removals."""

    source_size: int = field(
        default=256 * MIB, metadata=toml_key(SIZE, "Largest packed source tree of a run.")
    )
    source_file: int = field(
        default=32 * MIB, metadata=toml_key(SIZE, "Largest file in the source tree.")
    )
    output_size: int = field(
        default=20 * GIB, metadata=toml_key(SIZE, "Largest output of a stage.")
    )
    log_size: int = field(
        default=GIB,
        metadata=toml_key(SIZE, "Largest log of an attempt; what comes after that is left out."),
    )
    keep_logs: float = field(
        default=90 * DAY, metadata=toml_key(DURATION, "How long logs are kept after their run.")
    )
    keep_outputs: float = field(
        default=30 * DAY, metadata=toml_key(DURATION, "How long outputs are kept after their run.")
    )
    keep_sources: float = field(
        default=90 * DAY,
        metadata=toml_key(DURATION, "How long sources are kept after the last run that used them."),
    )
    keep_history: float | None = field(
        default=None,
        metadata=toml_key(AGE, 'How long runs, attempts and events are kept, or "forever".'),
    )
    images: int = field(
        default=50 * GIB,
        metadata=toml_key(
            SIZE, "Total of images kept here for hosts that cannot pull them; others are removed."
        ),
    )
    host_cache: int = field(
        default=20 * GIB, metadata=toml_key(SIZE, "Largest cache on each host.")
    )
    kept_files: int = field(
        default=2 * GIB,
        metadata=toml_key(SIZE, "Total of undeclared files of a run that are copied from hosts."),
    )
    keep_jobs: float = field(
        default=7 * DAY,
        metadata=toml_key(
            DURATION,
            "How long files that are not copied stay on their host after their stage.",
        ),
    )
    kept_on_host: int = field(
        default=50 * GIB,
        metadata=toml_key(
            SIZE,
            "Total of kept files on each host; with more, no stage that keeps files starts there.",
        ),
    )
    kept_in_store: int | None = field(
        default=None,
        metadata=toml_key(
            SIZE_OR_NONE,
            "Total of outputs, kept files and sources on the daemon's machine; with more, no "
            'stage that keeps files starts. "none": no limit.',
        ),
    )


@dataclass(frozen=True, slots=True)
class SharedConfig:
    """Folders that all hosts share (NFS and similar)."""

    paths: tuple[str, ...] = field(
        default=(),
        metadata=toml_key(list_of(ABSOLUTE), "Files there are used in place, not copied."),
    )


@dataclass(frozen=True, slots=True)
class SlurmConfig:
    """Labels of hosts for words of Slurm's batch scripts."""

    partitions: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict,
        metadata=toml_key(LABELS_BY_NAME, "Labels of the hosts that `--partition` names."),
    )
    features: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict,
        metadata=toml_key(LABELS_BY_NAME, "Labels of the hosts that `--constraint` names."),
    )


def local_host() -> HostConfig:
    """This machine without SSH: the only host if no config names any."""
    return HostConfig(name="local", transport="local")


@dataclass(frozen=True, slots=True)
class Config:
    """config.toml."""

    hosts: tuple[HostConfig, ...] = field(
        default_factory=lambda: (local_host(),),
        metadata=toml_key(
            tables_of(HostConfig), "The hosts by name. Without any: this machine, as `local`."
        ),
    )
    """In the order of the file; names are unique."""
    daemon: DaemonConfig = field(
        default_factory=DaemonConfig, metadata=toml_key(table_of(DaemonConfig))
    )
    policy: Policy = field(default_factory=Policy, metadata=toml_key(table_of(Policy)))
    limits: LimitsConfig = field(
        default_factory=LimitsConfig, metadata=toml_key(table_of(LimitsConfig))
    )
    mounts: tuple[MountConfig, ...] = field(
        default=(),
        metadata=toml_key(tables_of(MountConfig, WORD), "Folders that stages may name."),
    )
    shared: SharedConfig = field(
        default_factory=SharedConfig,
        metadata=toml_key(table_of(SharedConfig), "Folders that are the same on all hosts."),
    )
    docker: DockerConfig = field(
        default_factory=DockerConfig, metadata=toml_key(table_of(DockerConfig))
    )
    packages: PackagesConfig = field(
        default_factory=PackagesConfig, metadata=toml_key(table_of(PackagesConfig))
    )
    gateway: GatewayConfig = field(
        default_factory=GatewayConfig, metadata=toml_key(table_of(GatewayConfig))
    )
    slurm: SlurmConfig = field(
        default_factory=SlurmConfig,
        metadata=toml_key(
            table_of(SlurmConfig), "Labels of hosts for words of Slurm's batch scripts."
        ),
    )
    env: Mapping[str, str] = field(
        default_factory=dict, metadata=toml_key(ENV, "Variables for every stage on every host.")
    )

    def host(self, name: str) -> HostConfig | None:
        """The host of that name, None if there is none."""
        return next((host for host in self.hosts if host.name == name), None)

    def env_of(self, host: str) -> dict[str, str]:
        """The variables every stage gets on that host."""
        found = self.host(host)
        return {**self.env, **(found.env if found else {})}
