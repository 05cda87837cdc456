"""`ports.Door` by SSH: one connection, at most six sessions, Docker through channels, and channels
as `ports.ByteStream`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import asyncssh

from hostler.base.errors import EngineError, Unreachable
from hostler.base.text import clean_line, last_words
from hostler.ports import Hello
from hostler.ssh.connection import Connection, Dialler
from hostler.ssh.faults import lost_reason, mapped_docker, mapped_use, no_docker
from hostler.ssh.forwards import Forward
from hostler.ssh.target import SshTarget

MAX_SESSIONS = 6
"""sshd allows ten by default, and people want some for themselves."""
_DOCKER_WINDOW = 128 * 1024
_SESSION_WINDOW = 512 * 1024
"""Bytes of a log, and of an output, that may be on the way. They queue before everything else of
the connection: with asyncssh's 2 MiB, looks over half a Mbit/s wait for half a minute, and the host
seems gone. Outputs get more, since over a long way no more than this comes in each round trip."""
_USUAL_DOCKER = ("/var/run/docker.sock",)

_HIGH, _LOW = 1024 * 1024, 256 * 1024
"""Bytes read ahead of the reader: above the first, the other side pauses; below the second, it
continues."""
_COMPLAINT = 4096
_CLOSE_PATIENCE = 1.0


class ChannelStream:
    """One channel. asyncssh calls the lower-case protocol methods, everybody else the others."""

    def __init__(self, host: str, silence: float, released: Callable[[], None] = lambda: None):
        self._host, self._silence, self._released = host, silence, released
        self._channel: Any = None
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._paused = False
        self._ended = False
        self._lost = False
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = asyncio.Event()
        self._stderr = b""
        self._exit = ""

    @property
    def attached(self) -> bool:
        """Its channel exists, or existed."""
        return self._channel is not None

    @property
    def complaint(self) -> str:
        """What the command said on stderr and how it ended; "" when it said nothing."""
        said = self._stderr.decode("utf-8", "replace").strip()
        return "; ".join(part for part in (last_words(said, 500), self._exit) if part)

    async def read(self, limit: int = 65536) -> bytes:
        """At least one byte, at most `limit`; b"" at the end. Raises Unreachable when cut."""
        while not self._chunks:
            if self._error is not None:
                raise Unreachable(self._host, lost_reason(self._error, self._silence))
            if self._ended or self._lost:
                return b""
            self._news.clear()
            await self._news.wait()
        chunk = self._take(limit)
        self._held -= len(chunk)
        if self._paused and self._held < _LOW:
            self._paused = False
            self._channel.resume_reading()
        return chunk

    def _take(self, limit: int) -> bytes:
        """All that is there, at most `limit` bytes. Packets may be as small as a line each."""
        taken = [self._chunks.popleft()]
        size = len(taken[0])
        while self._chunks and size < limit:
            taken.append(self._chunks.popleft())
            size += len(taken[-1])
        chunk = taken[0] if len(taken) == 1 else b"".join(taken)
        if size > limit:
            self._chunks.appendleft(chunk[limit:])
            chunk = chunk[:limit]
        return chunk

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow. Raises Unreachable when cut."""
        self._check_open()
        try:
            self._channel.write(data)
        except OSError as error:
            raise Unreachable(self._host, "the channel is closed") from error
        await self._writable.wait()
        self._check_open()

    async def close(self) -> None:
        """End it at once; may be called twice."""
        if self._channel is None or self._lost:
            return
        self._channel.abort()
        try:
            async with asyncio.timeout(_CLOSE_PATIENCE):
                await self._gone.wait()
        except TimeoutError:
            return

    def connection_made(self, chan: Any) -> None:
        """The channel is there."""
        self._channel = chan

    def session_started(self) -> None:
        """The command runs."""

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Output on stdout or stderr."""
        if datatype is not None:
            self._stderr = (self._stderr + data)[-_COMPLAINT:]
            return
        self._chunks.append(data)
        self._held += len(data)
        if not self._paused and self._held > _HIGH:
            self._paused = True
            self._channel.pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        """No more output. True: what we write is still wanted."""
        self._ended = True
        self._news.set()
        return True

    def exit_status_received(self, status: int) -> None:
        """How the command ended."""
        self._exit = f"exit status {status}" if status else ""

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """The command was ended by a signal."""
        self._exit = f"ended by signal {clean_line(signal, 20)}"

    def pause_writing(self) -> None:
        """The other side is slow."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The other side has caught up."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone; with an error when the connection is."""
        self._lost, self._error = True, exc
        self._news.set()
        self._writable.set()
        self._gone.set()
        self._released()

    def _check_open(self) -> None:
        if self._lost:
            raise Unreachable(self._host, lost_reason(self._error, self._silence))


class ExecSession(ChannelStream, asyncssh.SSHClientSession[bytes]):
    """A command's stdin and stdout."""


class DockerSession(ChannelStream, asyncssh.SSHUNIXSession[bytes]):
    """A connection to a Unix socket of the host."""


class SshDoor:
    """A way onto one host by SSH. Connects again after a cut: `connect` may be called again."""

    def __init__(self, target: SshTarget, dialler: Dialler) -> None:
        self._target, self._dialler = target, dialler
        self._connection: Connection | None = None
        self._sessions = asyncio.Semaphore(MAX_SESSIONS)
        self._docker_paths: tuple[str, ...] = (
            (target.docker_socket,) if target.docker_socket else _USUAL_DOCKER
        )
        self._docker_path: str | None = None
        self._forward: tuple[Forward, asyncssh.SSHListener] | None = None
        self._forwarding = asyncio.Lock()

    @property
    def host(self) -> str:
        """The host's name in the config."""
        return self._target.name

    @property
    def transport(self) -> str:
        """ "ssh"."""
        return "ssh"

    @property
    def login(self) -> str:
        """For people: user@host of the open connection, else the requested name."""
        open_now = self._connection
        return open_now.found.login if open_now else self._target.destination

    def use_hello(self, hello: Hello) -> None:
        """Learn which Docker the agent looks at (the login's `DOCKER_HOST` may name it): no other
        shows what was started. Where it found none, one of this login may come to listen later."""
        if self._target.docker_socket is not None:
            return
        if hello.docker_socket:
            self._docker_paths = (hello.docker_socket,)
        elif hello.facts.uid is not None:
            run = f"/run/user/{hello.facts.uid}"
            self._docker_paths = (
                *_USUAL_DOCKER, f"{run}/docker.sock", f"{run}/podman/podman.sock"
            )  # fmt: skip

    async def connect(self) -> None:
        """Connect and log in, when it is this host's turn. Raises Unreachable or Refused."""
        if self._connection is not None:
            if not self._connection.lost.done():
                return
            await self.close()
        self._sessions = asyncio.Semaphore(MAX_SESSIONS)
        self._docker_path = None
        self._connection = await self._dialler.dial(self._target)

    async def exec_agent(self, command: str) -> ExecSession:
        """Run the one constant command; waits while four sessions are open."""
        connection = self._open_connection()
        slots = self._sessions
        await slots.acquire()
        stream = ExecSession(self.host, self._silence, slots.release)
        opened = False
        try:
            with mapped_use(self.host, "starting the agent", connection.lost):
                async with asyncio.timeout(self._dialler.timings.open_session):
                    await connection.raw.create_session(
                        lambda: stream, command, encoding=None, window=_SESSION_WINDOW
                    )
            opened = True
        finally:
            if not opened:
                await _abandon(stream, slots)
        return stream

    async def open_docker(self) -> DockerSession:
        """A new connection to the host's Docker socket. Raises EngineError when there is none."""
        connection = self._open_connection()
        if self._docker_path is not None:
            return await self._docker_channel(connection, self._docker_path)
        refusals: list[EngineError] = []
        for path in self._docker_paths:
            try:
                stream = await self._docker_channel(connection, path)
            except EngineError as error:
                refusals.append(error)
            else:
                self._docker_path = path
                return stream
        raise refusals[0]

    async def docker_url(self) -> str:
        """A `unix://` URL on this machine that leads to the host's Docker. The socket lies in a
        folder that only this user can enter, and goes when the connection does."""
        connection = self._open_connection()
        async with self._forwarding:
            if self._forward is None:
                await (await self.open_docker()).close()
                forward = await self._start_forward(connection)
                if self._connection is not connection:  # closed meanwhile
                    _end_forward(forward)
                    raise Unreachable(self.host, "not connected")
                self._forward = forward
            return f"unix://{self._forward[0].socket}"

    async def wait_closed(self) -> str:
        """Until the connection is gone; why, for people."""
        if self._connection is None:
            return "not connected"
        return await asyncio.shield(self._connection.lost)

    async def close(self) -> None:
        """Close connection and forwards; may be called twice."""
        forward, self._forward = self._forward, None
        if forward is not None:
            _end_forward(forward)
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._dialler.hang_up(connection)

    @property
    def _silence(self) -> float:
        settings = self._dialler.settings
        return settings.keepalive * (settings.keepalive_count + 1)

    def _open_connection(self) -> Connection:
        connection = self._connection
        if connection is None:
            raise Unreachable(self.host, "not connected")
        if connection.lost.done():
            raise Unreachable(self.host, connection.lost.result())
        return connection

    async def _docker_channel(self, connection: Connection, path: str) -> DockerSession:
        stream = DockerSession(self.host, self._silence)
        with mapped_docker(self.host, path, connection.lost):
            async with asyncio.timeout(self._dialler.timings.open_session):
                await connection.raw.create_unix_connection(
                    lambda: stream, path, window=_DOCKER_WINDOW
                )
        return stream

    async def _start_forward(self, connection: Connection) -> tuple[Forward, asyncssh.SSHListener]:
        if self._docker_path is None:
            raise no_docker(self.host, self._docker_paths[0], "it was not found")
        forward = Forward()
        try:
            with mapped_use(self.host, "forwarding Docker", connection.lost):
                listener = await connection.raw.forward_local_path(
                    str(forward.socket), self._docker_path
                )
        except BaseException:
            forward.remove()
            raise
        return forward, listener


def _end_forward(forward: tuple[Forward, asyncssh.SSHListener]) -> None:
    place, listener = forward
    listener.close()
    place.remove()


async def _abandon(stream: ExecSession, slots: asyncio.Semaphore) -> None:
    """Give the slot of a session back that did not come to be. If its channel exists, the slot is
    given back when the channel is gone."""
    if stream.attached:
        await stream.close()
    else:
        slots.release()
