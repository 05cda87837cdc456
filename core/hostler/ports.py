"""The Protocols between the daemon and the outside: how to reach a host (door, link), and how to
run stages there (runtime, builder).

The daemon uses only these; `ssh`, `local`, `sim` and the runtimes implement them. Their errors are
in `hostler.base.errors`: Unreachable, Refused, AgentError, EngineError.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hostler.model.builds import BuildJob, Built
from hostler.model.config import DaemonConfig, HostConfig
from hostler.model.files import ChangedFiles, FileList, Kept, Select
from hostler.model.generations import Generation
from hostler.model.host_reports import GpuFault
from hostler.model.hosts import HostFacts, Look, Workload
from hostler.model.jobs import Claim, Claimed, Job, SetupEnd
from hostler.model.time_limits import CheckpointSeen, Warn, Warned
from hostler_agent.json_values import Json, Message, Outgoing
from hostler_agent.source import ArchiveSource as ArchiveSource


class Clock(Protocol):
    """The clock; the daemon reads the time only here."""

    def now(self) -> float:
        """Seconds since the epoch; never goes back within one process."""


class ByteStream(Protocol):
    """A two-way stream of bytes: an agent's stdin and stdout, or a connection to Docker."""

    async def read(self, limit: int = 65536) -> bytes:
        """At least one byte, at most `limit`; b"" at the end. Raises Unreachable when cut."""

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow. Raises Unreachable when cut."""

    async def close(self) -> None:
        """Close it at once; may be called twice."""


class Listener(Protocol):
    """An open port on a host."""

    @property
    def port(self) -> int:
        """Its number."""

    async def close(self) -> None:
        """Close the port; open connections end on their own."""


class Door(Protocol):
    """Access to one host: SSH, or this machine itself. One connection, few sessions."""

    @property
    def host(self) -> str:
        """The host's name in the config."""

    @property
    def transport(self) -> str:
        """ "ssh" or "local"."""

    async def connect(self) -> None:
        """Connect and authenticate once. Raises Unreachable or Refused."""

    async def exec_agent(self, command: str) -> ByteStream:
        """Run the one constant command of the agent; its stdin and stdout."""

    async def open_docker(self) -> ByteStream:
        """A new connection to the host's Docker socket. Raises EngineError if there is none."""

    async def docker_url(self) -> str:
        """A `unix://` URL on this machine that leads to the host's Docker, for the SDK."""

    async def listen(self, accept: Callable[[ByteStream], None]) -> Listener:
        """Open a port on the host's loopback; each connection is passed to `accept`. sshd chooses
        the number, and its settings may bind the port to another address:
        `HostLink.call("listening")` returns the address. Raises EngineError if sshd opens none."""

    async def open_socket(self, path: str) -> ByteStream:
        """A new connection to a Unix socket of the host. Raises EngineError if nothing listens."""

    async def wait_closed(self) -> str:
        """Wait until the connection is lost or closed; returns the reason, for people."""

    async def close(self) -> None:
        """Close connection and forwards; may be called twice."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a host reports about itself when its agent has started."""

    facts: HostFacts
    boot_id: str
    agent_version: str
    docker_socket: str | None = None
    """The path of Docker's socket that the agent reads; None: it found none."""


@dataclass(frozen=True, slots=True)
class Left:
    """The log and facts of an ended process with little output, sent with its exit."""

    log: bytes
    """All of its output."""
    metrics: bool
    """Whether it wrote a metrics file."""
    changed: int | None = None
    """0: no file in its folder is new or changed; None: unknown, the daemon requests it."""


@dataclass(frozen=True, slots=True)
class Exited:
    """Pushed by the agent the moment a workload ends."""

    workload: Workload
    left: Left | None = None
    """None: the daemon requests it."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The link is closed; no more messages are pushed. Contains the reason, for people."""

    reason: str


Push = Exited | GpuFault | Dropped


class FileStream(Protocol):
    """The bytes of one plain file, up to its size when it was opened."""

    size: int | None
    """Size of the whole file. Known after `begin`, like `mtime`."""
    mtime: float | None
    sha256: str | None
    """SHA-256 of the whole file, including bytes before the offset; known at the end."""

    async def begin(self) -> None:
        """Open it. Raises NotFoundError, and InputError if it is not a plain file."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Its bytes from the offset on; calls `begin` if necessary."""

    async def __anext__(self) -> bytes:
        """The next bytes."""

    async def aclose(self) -> None:
        """Stop before the end."""


class HostLink(Protocol):
    """A host with a running agent: everything that the daemon asks of it."""

    @property
    def host(self) -> str:
        """The host's name in the config."""

    async def connect(self) -> Hello:
        """Connect, start the agent, read the facts. Raises Unreachable, Refused or AgentError."""

    async def look(self, asked_at: float, timeout: float) -> Look:
        """One observation; `asked_at` is the daemon's clock at the time of the request."""

    def pushes(self) -> AsyncIterator[Push]:
        """Messages that the agent sends without a request; ends with `Dropped`."""

    async def claim(self, claim: Claim) -> Claimed:
        """Lease GPUs, all or none, after the host has checked that each is free. Repeatable: GPUs
        that this attempt already holds count as claimed."""

    async def bind(self, lease_ids: Sequence[str], workload: str, claim: Claim) -> Claimed:
        """Bind leases to the container (id) or process ("pid:start") that will use the GPUs, after
        the check of `claim` is done again. Repeatable: if this workload already runs, its own use
        of the GPUs is no reason to refuse."""

    async def release(self, lease_ids: Sequence[str]) -> None:
        """Release leases; missing leases are ignored."""

    async def call(self, verb: str, payload: Outgoing, timeout: float = 10.0) -> dict[str, Any]:
        """Any other request to the agent, such as those of the process runtime; returns its answer.
        `timeout` in seconds."""

    async def put_blob(self, digest: str, path: Path) -> None:
        """Put the file with this SHA-256 into the host's cache if it is missing; a transfer that
        was cut off is resumed."""

    async def place_blob(self, digest: str, source: ArchiveSource) -> None:
        """Unpack a cached blob (tar) at `source.path` of a workload that has not started."""

    def read_archive(
        self, source: ArchiveSource, offset: int = 0, paths: Sequence[str] | None = None
    ) -> AsyncIterator[bytes]:
        """A tar stream of a workload's folder, from byte `offset`; the same bytes each time.

        `paths`: only these files and links, relative to `source.path`; missing ones are left out.
        """

    async def changed_files(
        self, source: ArchiveSource, select: Select, *, beside: bool = False
    ) -> ChangedFiles:
        """New and changed files of a workload that has ended; links are not followed. Raises
        NotFoundError if the snapshot is not in the host's cache. `beside`: the list is for a user,
        so it must not delay copies and placements."""

    async def list_files(self, source: ArchiveSource, recursive: bool) -> FileList:
        """The current content of a folder (or file) of a running, ended or kept workload."""

    def read_file(self, source: ArchiveSource, offset: int = 0) -> FileStream:
        """One plain file of a running, ended or kept workload, from byte `offset`."""

    async def keep_files(self, source: ArchiveSource, until: float) -> Kept:
        """Mark files of an ended workload to be kept; see `Runtime.keep`."""

    def read_log(
        self, attempt_id: str, offset: int, follow: bool
    ) -> AsyncIterator[tuple[int, bytes]]:
        """A process workload's log from a byte offset: (offset, bytes), live with `follow`."""

    async def open_docker(self) -> ByteStream:
        """A new connection to the host's Docker socket."""

    async def docker_url(self) -> str:
        """A URL on this machine that leads to the host's Docker, for the SDK."""

    async def open_socket(self, path: str) -> ByteStream:
        """A new connection to a Unix socket of the host. Raises EngineError if nothing listens."""

    async def close(self) -> None:
        """Stop the agent and close the connection; workloads continue. May be called twice."""


@dataclass(frozen=True, slots=True)
class SentBlob:
    """A file to store in a host's cache under its SHA-256, and a callback for its progress."""

    digest: str
    path: Path
    size: int
    sent: Callable[[int], None]
    """Called with the number of bytes that have arrived on the host."""
    done: Callable[[], None]
    """Called when the host has checked the whole file."""


@runtime_checkable
class ImageLink(HostLink, Protocol):
    """A host that can send and receive images."""

    async def listen(self, accept: Callable[[ByteStream], None]) -> Listener:
        """See `Door.listen`."""

    async def load_image(
        self, entries: Sequence[Outgoing], blobs: Sequence[SentBlob] = ()
    ) -> list[Message]:
        """Send these blobs to the host's cache as `put_blob` does. The agent then makes an archive
        of `entries`, in order, and loads it into Docker. An entry is `{"name", "data"}` (base64) or
        `{"name", "digest", "size"}` (a blob of the cache). Returns Docker's messages."""


class LogSink(Protocol):
    """The target of a workload's output. It stores its position, so that copying can resume."""

    @property
    def position(self) -> Mapping[str, Json]:
        """The position of the last `append`: empty at the start."""

    def append(self, data: bytes, position: Mapping[str, Json]) -> None:
        """Write bytes, and store the position just after them, as one step."""


class Progress(Protocol):
    """A callback for the progress of long work, for people."""

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """`what` like "pulling python:3.12-slim"; `done` bytes of `total` (None: not known)."""


class Runtime(Protocol):
    """Starts, watches and ends workloads on hosts. Every method may be repeated safely."""

    @property
    def name(self) -> str:
        """ "docker" or "process"."""

    async def create(self, link: HostLink, job: Job, progress: Progress) -> str:
        """Prepare everything except the start: image, container or folder, archives. Returns its
        ref.

        Success if a container or process of the same daemon and attempt already exists; anything
        else with that name raises EngineError.
        """

    async def prepare(
        self, link: HostLink, job: Job, sink: LogSink, progress: Progress
    ) -> SetupEnd:
        """Run the job's `setup`, without GPUs, with its output in `sink`. A second call for the
        same attempt waits for the same setup."""

    async def base_digest(self, link: HostLink, job: Job, progress: Progress) -> str | None:
        """The digest on a host of the image of a job with `setup`; the host pulls a missing image.
        None: the job has no image. Raises NoImage if it cannot be pulled."""

    async def start(self, link: HostLink, job: Job, ref: str) -> Workload:
        """Start it; success if it runs or has already run."""

    async def stop(self, link: HostLink, workload: Workload, grace: float) -> None:
        """Send TERM, wait `grace` seconds, then send KILL; returns when it has ended."""

    async def warn(self, link: HostLink, workload: Workload, warn: Warn) -> Warned:
        """Send a signal to its command if the command handles that signal; returns what was done.
        A repeated call sends nothing, and returns the first result."""

    async def checkpoint(
        self, link: HostLink, workload: Workload, path: str, beside: str | None
    ) -> CheckpointSeen:
        """When the checkpoint of an ended workload was last written. `path` is relative to the
        working folder; `beside`: another folder of the host that counts too, for code that runs
        in place."""

    async def remove(self, link: HostLink, workload: Workload) -> None:
        """Remove it and its files on the host, except checkpoints."""

    async def keep(self, link: HostLink, workload: Workload, until: float) -> Kept:
        """Keep the files of an ended workload on its host, without its log; looks no longer list
        it. Returns how many files and bytes, and where. `remove` removes them. `until` is only
        reported (`kept.list`)."""

    async def inspect(self, link: HostLink, ref: str) -> Workload | None:
        """Its current state; None: it does not exist."""

    async def follow(self, link: HostLink, workload: Workload, sink: LogSink) -> None:
        """Copy its output into `sink`, from the sink's position until the workload ends."""

    async def image_digest(self, link: HostLink, ref: str) -> str | None:
        """The digest of the image that it runs; None if it runs without one."""

    async def sweep(
        self, link: HostLink, daemon_id: str, keep: Collection[str], dry_run: bool = False
    ) -> int:
        """Remove this daemon's checkpoints on a host, except those with a key in `keep`; returns
        how many. With `dry_run` they are only counted."""

    async def close(self) -> None:
        """Close everything opened on this machine; workloads continue."""


class Builder(Protocol):
    """Builds images on hosts."""

    async def build(
        self, link: HostLink, job: BuildJob, sink: LogSink, progress: Progress
    ) -> Built:
        """Build an image, with the output in `sink`, whose position does not change. If the call is
        cancelled, the build stops; the next call reuses its finished steps. Raises InputError if
        the build cannot begin, EngineError if the host lacks something, Unreachable when cut."""

    async def holds(self, link: HostLink, image: str) -> bool:
        """Whether a host has an image, by name or id. Raises HostError."""


class MakeLink(Protocol):
    """Makes a link, not connected yet, to a host of the config."""

    def __call__(
        self, config: HostConfig, daemon_id: str, generation: Generation | None = None
    ) -> HostLink:
        """A link for the daemon with that id. Without the daemon's generation the link can only
        read: a host that knows a generation refuses changes."""


@dataclass(frozen=True, slots=True)
class Outside:
    """Everything that a daemon reaches beyond its own disk: real hosts, or a simulated lab."""

    link: MakeLink
    runtimes: Mapping[str, Runtime]
    """By name: "docker" and "process"."""
    builder: Builder
    use_settings: Callable[[DaemonConfig], None] = lambda _settings: None
    """Use the connection settings of the config, for connections made from now on."""
    reset: Callable[[], None] = lambda: None
    """Try refused logins again, because something that they depend on has changed."""
    use_agent: Callable[[str], None] = lambda _socket: None
    """Use the SSH agent at this socket from now on."""


MakeOutside = Callable[[Callable[[str], Path]], Outside]
"""Makes the hosts and runtimes. Its argument is a function that returns the path of a file in the
content store by its digest."""
