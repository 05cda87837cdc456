"""The Protocols between the daemon and the outside: how to reach a host (door, link), and how to
run stages there (runtime, builder).

Everything above knows only these; `ssh`, `local`, `sim` and the runtimes implement them. Errors are
those of `hostler.base.errors`: Unreachable, Refused, AgentError, EngineError.
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
    """The clock: nothing else reads the time."""

    def now(self) -> float:
        """Seconds since the epoch; never goes back within one process."""


class ByteStream(Protocol):
    """A two-way stream of bytes: an agent's stdin and stdout, or a connection to Docker."""

    async def read(self, limit: int = 65536) -> bytes:
        """At least one byte, at most `limit`; b"" at the end. Raises Unreachable when cut."""

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow. Raises Unreachable when cut."""

    async def close(self) -> None:
        """End it at once; may be called twice."""


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
        """A port on the host's loopback whose connections are handed to `accept`. sshd chooses its
        number, and may be set to bind it elsewhere: `HostLink.call("listening")` says where it is.
        Raises EngineError where no port can be had."""

    async def open_socket(self, path: str) -> ByteStream:
        """A new connection to a Unix socket of the host. Raises EngineError if nothing listens."""

    async def wait_closed(self) -> str:
        """Wait until the connection is gone; the reason, for people."""

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
    """What an ended process with little output left, sent with its exit."""

    log: bytes
    """All of its output."""
    metrics: bool
    """Whether it wrote a metrics file."""
    changed: int | None = None
    """0: nothing in its folder is new or changed; None: unknown, to be requested."""


@dataclass(frozen=True, slots=True)
class Exited:
    """Pushed by the agent the moment a workload ends."""

    workload: Workload
    left: Left | None = None
    """None: to be requested."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The link is gone; no more messages are pushed. The reason, for people."""

    reason: str


Push = Exited | GpuFault | Dropped


class FileStream(Protocol):
    """The bytes of one plain file, as many as it had when it was opened."""

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
        """One observation; `asked_at` is the daemon's clock at the time of asking."""

    def pushes(self) -> AsyncIterator[Push]:
        """Messages that the agent sends without a request; ends with `Dropped`."""

    async def claim(self, claim: Claim) -> Claimed:
        """Hold GPUs, all or none, after checking on the host that each is free. Repeatable: GPUs
        that this very attempt holds already count as claimed."""

    async def bind(self, lease_ids: Sequence[str], workload: str, claim: Claim) -> Claimed:
        """Tie leases to the container (id) or process ("pid:start") that is to use the GPUs, after
        checking once more that each is as free as for `claim`. Repeatable: what runs already is
        not in its own way."""

    async def release(self, lease_ids: Sequence[str]) -> None:
        """Release leases; missing leases are ignored."""

    async def call(self, verb: str, payload: Outgoing, timeout: float = 10.0) -> dict[str, Any]:
        """Any other request to the agent (the process runtime's); its answer."""

    async def put_blob(self, digest: str, path: Path) -> None:
        """Make sure the host's cache holds the file with this SHA-256; resumes after a cut."""

    async def place_blob(self, digest: str, source: ArchiveSource) -> None:
        """Unpack a cached blob (tar) at `source.path` of a workload that has not started."""

    def read_archive(
        self, source: ArchiveSource, offset: int = 0, paths: Sequence[str] | None = None
    ) -> AsyncIterator[bytes]:
        """A tar stream of a workload's folder, from byte `offset`; the same bytes each time.

        `paths`: of these files and links alone, relative to `source.path`; those that are gone
        are left out.
        """

    async def changed_files(
        self, source: ArchiveSource, select: Select, *, beside: bool = False
    ) -> ChangedFiles:
        """New and changed files of a workload that has ended; no link is followed. Raises
        NotFoundError where the snapshot is not in the host's cache. `beside`: a user requests the
        list, and no collecting or placing waits for it."""

    async def list_files(self, source: ArchiveSource, recursive: bool) -> FileList:
        """The present content of a folder (or file) of a workload, running, ended or kept."""

    def read_file(self, source: ArchiveSource, offset: int = 0) -> FileStream:
        """One plain file of a workload, running, ended or kept, from byte `offset`."""

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
        """End agent and connection; workloads continue. May be called twice."""


@dataclass(frozen=True, slots=True)
class SentBlob:
    """A file to store in a host's cache under its SHA-256, and a callback for its progress."""

    digest: str
    path: Path
    size: int
    sent: Callable[[int], None]
    """Called with the number of bytes that the host has."""
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
        """Send these blobs to the host's cache as `put_blob` does, then load an archive into its
        Docker that the agent composes of these files, in order: `{"name", "data"}` (text in base64)
        or `{"name", "digest", "size"}`, a blob of the cache. What Docker said, line by line."""


class LogSink(Protocol):
    """The target of a workload's output. It stores its position, so that a follower can resume."""

    @property
    def position(self) -> Mapping[str, Json]:
        """The position of the last `append`: empty at the start."""

    def append(self, data: bytes, position: Mapping[str, Json]) -> None:
        """Write bytes, and store the position just after them, as one step."""


class Progress(Protocol):
    """Called with the progress of long work, for people."""

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """`what` like "pulling python:3.12-slim"; bytes done of total (None: not known)."""


class Runtime(Protocol):
    """Starts, watches and ends workloads on hosts. Every method may be repeated safely."""

    @property
    def name(self) -> str:
        """ "docker" or "process"."""

    async def create(self, link: HostLink, job: Job, progress: Progress) -> str:
        """Make it ready up to, not including, start: image, container or folder, archives. Its ref.

        A container or process of the same daemon and attempt that exists already is success;
        anything else of that name raises EngineError.
        """

    async def prepare(
        self, link: HostLink, job: Job, sink: LogSink, progress: Progress
    ) -> SetupEnd:
        """Have the job's `setup` done, which uses no GPUs, with its output in `sink`. Who calls it
        again for the same attempt waits for the same setup."""

    async def base_digest(self, link: HostLink, job: Job, progress: Progress) -> str | None:
        """What the image of a job with `setup` is on a host, which pulls it where it lacks it.
        None: the job has none. Raises NoImage where it cannot be pulled."""

    async def start(self, link: HostLink, job: Job, ref: str) -> Workload:
        """Start it; success if it runs or has already run."""

    async def stop(self, link: HostLink, workload: Workload, grace: float) -> None:
        """TERM, `grace` seconds, KILL; returns when it has ended."""

    async def warn(self, link: HostLink, workload: Workload, warn: Warn) -> Warned:
        """Send a signal to its command, if that catches it; what was done. A host that was asked
        before says what it did then, and sends nothing."""

    async def checkpoint(
        self, link: HostLink, workload: Workload, path: str, beside: str | None
    ) -> CheckpointSeen:
        """When the checkpoint of what has ended was written to. `path` is relative to the working
        folder; `beside`: a folder of the host that counts, too, where the code is run in place."""

    async def remove(self, link: HostLink, workload: Workload) -> None:
        """Remove it and its files on the host, except checkpoints."""

    async def keep(self, link: HostLink, workload: Workload, until: float) -> Kept:
        """Keep an ended workload on its host, outside looks and without its log: how many files
        and bytes, and where. `remove` removes it. `until` is only reported (`kept.list`)."""

    async def inspect(self, link: HostLink, ref: str) -> Workload | None:
        """Its present state; None: it does not exist."""

    async def follow(self, link: HostLink, workload: Workload, sink: LogSink) -> None:
        """Copy its output into `sink`, from the sink's position to the end of the workload."""

    async def image_digest(self, link: HostLink, ref: str) -> str | None:
        """The digest of the image it runs; None without images."""

    async def sweep(
        self, link: HostLink, daemon_id: str, keep: Collection[str], dry_run: bool = False
    ) -> int:
        """Remove this daemon's checkpoints on a host but those with a key in `keep`; how many. With
        `dry_run` they are only counted."""

    async def close(self) -> None:
        """Close everything opened on this machine; workloads continue."""


class Builder(Protocol):
    """Builds images on hosts."""

    async def build(
        self, link: HostLink, job: BuildJob, sink: LogSink, progress: Progress
    ) -> Built:
        """Build an image, with the output in `sink`, whose position stays as it is. The build ends
        with this call; done once more, it finds the steps that were done. Raises InputError where
        it cannot begin, EngineError for what the host lacks, Unreachable when cut."""

    async def holds(self, link: HostLink, image: str) -> bool:
        """Whether a host has an image, by name or id. Raises HostError."""


class MakeLink(Protocol):
    """Makes a link, not connected yet, to a host of the config."""

    def __call__(
        self, config: HostConfig, daemon_id: str, generation: Generation | None = None
    ) -> HostLink:
        """For the daemon of that id. Without its generation the link can only read: a host that
        knows a generation refuses changes."""


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
    """Allow refused logins to be tried again, because something that they depend on has changed."""
    use_agent: Callable[[str], None] = lambda _socket: None
    """Use the SSH agent at this socket from now on."""


MakeOutside = Callable[[Callable[[str], Path]], Outside]
"""Makes the hosts and runtimes. Its argument returns the path of a file in the content store by its
digest."""
