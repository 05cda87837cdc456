"""`ports.HostLink` over any door: requests and transfers, new starts of an agent that ends,
quarantine of a host; `model/timings` has the pauses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from hostler.base.errors import AgentError, HostError, Superseded, Unreachable
from hostler.link.agent_start import AgentProgram, read_hello, start_agent
from hostler.link.answers import checked
from hostler.link.bulk import ArchiveStream, place_blob, put_blob
from hostler.link.files import RemoteFile, changed_files, keep_files, list_files
from hostler.link.images import load_image
from hostler.link.logs import follow_log, read_log
from hostler.link.session import AgentSession, End, EndKind, PushQueue, SessionEnded
from hostler.model.codec import from_json, to_json
from hostler.model.files import ChangedFiles, FileList, Kept, Select
from hostler.model.generations import Generation
from hostler.model.hosts import Look
from hostler.model.jobs import Claim, Claimed
from hostler.model.timings import DEFAULT, LinkTimings
from hostler.ports import (
    ArchiveSource,
    ByteStream,
    Door,
    Hello,
    HostLink,
    Listener,
    Push,
    SentBlob,
)
from hostler_agent import wire
from hostler_agent.json_values import Message, Outgoing

T = TypeVar("T")
_STAT_S = 30.0
"""A path may need a mount first, or be on a slow file server."""


@runtime_checkable
class HelloUser(Protocol):
    """A door that can use the facts in the host's hello."""

    def use_hello(self, hello: Hello) -> None:
        """Use these facts."""


class AgentLink:
    """A host with its agent running. After `Dropped` it may be connected again."""

    def __init__(
        self,
        door: Door,
        program: AgentProgram,
        daemon_id: str,
        generation: Generation | None = None,
        timings: LinkTimings = DEFAULT.link,
    ) -> None:
        self.timings = timings
        self._door, self._program, self._daemon_id = door, program, daemon_id
        self._generation = generation
        self._session: AgentSession | None = None
        self._changed = asyncio.Event()
        self._down: HostError | None = Unreachable(door.host, "not connected")
        self._monitor: asyncio.Task[None] | None = None
        self._pushes = PushQueue()
        # With the agent itself they are as many as the sessions of a connection (of lists and files
        # two are asked for at a time). These are read as fast as somebody takes them: they may not
        # hold up what is collected.
        self._transfers, self._log_reads = asyncio.Semaphore(1), asyncio.Semaphore(1)
        self._lists, self._file_reads = asyncio.Semaphore(2), asyncio.Semaphore(2)
        self._closing: set[asyncio.Task[None]] = set()
        self._quarantine: tuple[float, str] | None = None
        self._hung_after = self.timings.hung_after
        self.hello: Hello | None = None
        """The agent's last hello."""

    @property
    def host(self) -> str:
        """The host's name in the config."""
        return self._door.host

    async def connect(self) -> Hello:
        """Connect, start the agent, read the facts. Raises Unreachable, Refused or AgentError."""
        self._check_quarantine()
        await self._stop_monitor()
        self._go_down(Unreachable(self.host, "connecting"))
        await asyncio.gather(*self._closing)
        self._hung_after = self.timings.hung_after
        try:
            await self._door.connect()
            session = await self._start_session()
        except BaseException:
            await self._door.close()
            raise
        assert self.hello is not None
        self._pushes.open()
        self._switch(session, None)
        self._monitor = asyncio.create_task(self._keep(session), name=f"link {self.host}")
        return self.hello

    async def look(self, asked_at: float, timeout: float) -> Look:
        """One observation; `asked_at` is the daemon's clock at the time of asking."""
        return await self._ask(lambda session, left: session.look(asked_at, left), timeout, "look")

    def pushes(self) -> AsyncIterator[Push]:
        """The agent's messages without a request; ends with `Dropped`."""
        return self._pushes.listen()

    async def claim(self, claim: Claim) -> Claimed:
        """Lease GPUs, all or none, after checking on the host that each is free."""
        return from_json(Claimed, await self.call("claim", to_json(claim)))

    async def bind(self, lease_ids: Sequence[str], workload: str, claim: Claim) -> Claimed:
        """Bind leases to the container or process that will use the GPUs, after another check."""
        payload = {"lease_ids": list(lease_ids), "workload": workload, "claim": to_json(claim)}
        return from_json(Claimed, await self.call("bind", payload))

    async def release(self, lease_ids: Sequence[str]) -> None:
        """Release leases; missing ones are ignored."""
        await self.call("release", {"lease_ids": list(lease_ids)})

    async def call(self, verb: str, payload: Outgoing, timeout: float = 10.0) -> dict[str, Any]:
        """Any other request to the agent; its answer, whose form is checked here for all readers.
        Sent again if the agent was restarted meanwhile: every request may be repeated.

        Raises a HostError, and InputError only if `may_refuse`.
        """
        answer = await self._ask(
            lambda session, left: session.request(verb, payload, left), timeout, verb
        )
        return checked(self.host, verb, answer)

    async def put_blob(
        self, digest: str, path: Path, sent: Callable[[int], None] = lambda _there: None
    ) -> None:
        """Make sure the host's cache holds the file with this SHA-256; resumes after a cut. `sent`
        is called with the number of bytes that the host has."""
        has = await self.call("blob.has", {"digest": digest})
        if has.get("complete") is True:
            return
        async with self._transfers:
            await put_blob(self._door, self._program, digest, path, sent)

    async def place_blob(self, digest: str, source: ArchiveSource) -> None:
        """Unpack a cached blob (tar) at `source.path` of a workload that has not started."""
        async with self._transfers:
            await place_blob(self._door, self._program, digest, source)

    async def listen(self, accept: Callable[[ByteStream], None]) -> Listener:
        """A port on the host's loopback whose connections are handed to `accept`."""
        return await self._door.listen(accept)

    async def load_image(
        self, entries: Sequence[Outgoing], blobs: Sequence[SentBlob] = ()
    ) -> list[Message]:
        """Send the blobs, then load an archive of these files into the host's Docker; Docker's
        output."""
        async with self._transfers:
            return await load_image(self._door, self._program, entries, blobs)

    def read_archive(
        self, source: ArchiveSource, offset: int = 0, paths: Sequence[str] | None = None
    ) -> ArchiveStream:
        """A tar stream of a workload's folder, from byte `offset`; the same bytes each time.
        `paths`: of these files and links alone."""
        return ArchiveStream(self._door, self._program, source, offset, self._transfers, paths)

    async def changed_files(
        self, source: ArchiveSource, select: Select, *, beside: bool = False
    ) -> ChangedFiles:
        """New and changed files of a workload that has ended."""
        async with self._lists if beside else self._transfers:
            return await changed_files(self._door, self._program, source, select)

    async def list_files(self, source: ArchiveSource, recursive: bool) -> FileList:
        """The present content of a workload's folder."""
        async with self._lists:
            return await list_files(self._door, self._program, source, recursive)

    def read_file(self, source: ArchiveSource, offset: int = 0) -> RemoteFile:
        """One plain file of a workload, from byte `offset`."""
        return RemoteFile(self._door, self._program, source, offset, self._file_reads)

    async def keep_files(self, source: ArchiveSource, until: float) -> Kept:
        """Mark a workload that has ended to stay."""
        async with self._transfers:
            return await keep_files(self._door, self._program, source, until)

    def read_log(
        self, attempt_id: str, offset: int, follow: bool
    ) -> AsyncIterator[tuple[int, bytes]]:
        """A process workload's log from a byte offset: (offset, bytes), live with `follow`."""
        if follow:
            return follow_log(self.host, self.call, attempt_id, offset, self.timings)
        return read_log(self._door, self._program, self._log_reads, attempt_id, offset)

    async def open_docker(self) -> ByteStream:
        """A new connection to the host's Docker socket."""
        return await self._door.open_docker()

    async def docker_url(self) -> str:
        """A URL on this machine that leads to the host's Docker, for the SDK."""
        return await self._door.docker_url()

    async def open_socket(self, path: str) -> ByteStream:
        """A new connection to a Unix socket of the host."""
        return await self._door.open_socket(path)

    async def close(self) -> None:
        """End agent and connection; workloads continue. May be called twice."""
        await self._stop_monitor()
        self._go_down(Unreachable(self.host, "closed"))
        # The connection first: with it, its channels are gone, also where the host is silent.
        await self._door.close()
        await asyncio.gather(*self._closing)

    async def _ask(
        self,
        ask: Callable[[AgentSession, float], Awaitable[T]],
        timeout: float,
        what: str,
    ) -> T:
        loop = asyncio.get_running_loop()
        ends = loop.time() + timeout
        try:
            async with asyncio.timeout_at(ends):
                while True:
                    session = await self._ready()
                    try:
                        return await ask(session, max(0.001, ends - loop.time()))
                    except SessionEnded:
                        await self._replaced(session)
        except TimeoutError as error:
            raise Unreachable(self.host, f"no answer to {what} within {timeout:g} s") from error

    async def _ready(self) -> AgentSession:
        while self._session is None:
            if self._down is not None:
                raise type(self._down)(self.host, self._down.message, remedy=self._down.remedy)
            await self._changed.wait()
        return self._session

    async def _replaced(self, session: AgentSession) -> None:
        while self._session is session:
            await self._changed.wait()

    def _switch(self, session: AgentSession | None, down: HostError | None) -> None:
        """Use this session from now on, or none and why; None and None: another session follows."""
        self._session, self._down = session, down
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _go_down(self, why: HostError | None) -> None:
        """No session now. None: another session follows."""
        session = self._session
        self._switch(None, why)
        if session is not None:
            self._dispose(session)
        if why is not None:
            self._pushes.drop(why.message)

    def _dispose(self, session: AgentSession) -> None:
        """Close a session in the background: one that hangs may take a while."""
        task = asyncio.create_task(session.close(), name=f"closing {self.host}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _start_session(self) -> AgentSession:
        started = await start_agent(self._door, self._program, self.timings.agent_start)
        try:
            await started.begin(self._mode())
            hello = await read_hello(self.host, started, self._program)
        except BaseException:
            await started.stream.close()
            raise
        self.hello = hello
        if isinstance(self._door, HelloUser):
            self._door.use_hello(hello)
        session = AgentSession(self.host, started, self._pushes.put, self.timings)
        session.start(self._hung_after)
        return session

    def _mode(self) -> Outgoing:
        mode = {"mode": "serve", "daemon": self._daemon_id, "protocol": wire.PROTOCOL}
        if self._generation is None:
            return mode
        return {**mode, "generation": to_json(self._generation)}

    async def _keep(self, session: AgentSession) -> None:
        """Restart the agent when it ends, on the same connection; stop when the connection is
        gone."""
        loop = asyncio.get_running_loop()
        quick_ends = 0
        while True:
            began = loop.time()
            end = await self._end_of(session)
            if end.kind not in (EndKind.DIED, EndKind.HUNG):
                break
            if end.kind is EndKind.HUNG:
                self._hung_after = min(self.timings.hung_after_most, self._hung_after * 2)
            quick_ends = quick_ends + 1 if loop.time() - began < self.timings.quick_end else 1
            self._go_down(None)
            if self._closing and end.kind is EndKind.DIED:  # sshd counts it until it is closed
                await asyncio.wait(self._closing, timeout=self.timings.close_patience)
            started = await self._restart(quick_ends, end)
            if isinstance(started, End):
                end = started
                break
            session = started
            self._switch(session, None)
        await self._give_up(end)

    async def _restart(self, quick_ends: int, end: End) -> AgentSession | End:
        """Another agent on the same connection, or why there is none. sshd may count the session of
        the ended agent for another moment."""
        pauses = self.timings.restart_pauses
        if quick_ends > len(pauses):
            return End(end.kind, f"{end.reason}, {quick_ends} times in a row")
        for pause in pauses[quick_ends - 1 :]:
            gone = await self._gone_within(pause)
            if gone is not None:
                return gone
            try:
                return await self._start_session()
            except Superseded as error:  # which stays so; the next connect says it again
                return End(EndKind.CUT, error.message)
            except HostError as error:
                end = End(EndKind.CUT, error.message, error.remedy)
        return end

    async def _gone_within(self, seconds: float) -> End | None:
        """Why the connection is gone, if it is gone after that time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._wait_closed()
        except TimeoutError:
            return None

    async def _end_of(self, session: AgentSession) -> End:
        """How it ended. If the agent's channel closed, the connection may be gone, too."""
        gone = asyncio.create_task(self._wait_closed(), name=f"connection {self.host}")
        try:
            await asyncio.wait((session.ended, gone), return_when=asyncio.FIRST_COMPLETED)
            return gone.result() if gone.done() else session.ended.result()
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    async def _wait_closed(self) -> End:
        return End(EndKind.CUT, await self._door.wait_closed())

    async def _give_up(self, end: End) -> None:
        if end.kind is EndKind.HOSTILE:
            until = asyncio.get_running_loop().time() + self.timings.quarantine
            self._quarantine = (until, end.reason)
            self._go_down(AgentError(self.host, end.reason))
        else:
            self._go_down(Unreachable(self.host, end.reason, remedy=end.remedy))
        await self._door.close()

    async def _stop_monitor(self) -> None:
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            monitor.cancel()
            await asyncio.gather(monitor, return_exceptions=True)

    def _check_quarantine(self) -> None:
        if self._quarantine is None:
            return
        until, reason = self._quarantine
        if asyncio.get_running_loop().time() < until:
            raise AgentError(
                self.host,
                f"in quarantine: {reason}",
                remedy="find out what runs as hostler_agent there; it is tried again after "
                f"{self.timings.quarantine:g} s",
            )
        self._quarantine = None


async def stat_paths(link: HostLink, paths: Sequence[str]) -> dict[str, Message]:
    """Path -> its state, read with the rights of the login: `exists`, `is_dir`, `shared`, ...
    Raises Unreachable, AgentError."""
    answer = await link.call("stat", {"paths": list(paths)}, timeout=_STAT_S)
    return {item["path"]: item for item in answer["paths"]}
