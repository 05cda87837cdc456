"""`ports.Door` by SSH: one connection, at most six sessions, the choice of the host's Docker
socket, and the most bytes in transit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncssh

from hostler.base.errors import EngineError, Unreachable
from hostler.ports import ByteStream, Hello
from hostler.ssh.connection import Connection, Dialler
from hostler.ssh.faults import mapped_docker, mapped_socket, mapped_use, no_docker
from hostler.ssh.forwards import Forward
from hostler.ssh.reverse import ReverseListener, listen
from hostler.ssh.streams import DockerSession, ExecSession
from hostler.ssh.target import SshTarget

MAX_SESSIONS = 6
"""sshd allows ten by default; the user needs some for other work."""
_DOCKER_WINDOW = 128 * 1024
_SESSION_WINDOW = 512 * 1024
"""Bytes of a log or an output that may be in transit. Other messages on the connection wait behind
them: with asyncssh's 2 MiB, a look over a line of 0.5 Mbit/s would take half a minute, and the host
would count as unreachable. Outputs get a larger window: on a line with a long delay, one window is
sent per round trip."""
_USUAL_DOCKER = ("/var/run/docker.sock",)


class SshDoor:
    """Access to one host by SSH. After a lost connection, `connect` may be called again."""

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
        """For people: user@host of the open connection; without one, the requested name."""
        open_now = self._connection
        return open_now.found.login if open_now else self._target.destination

    def use_hello(self, hello: Hello) -> None:
        """Use the Docker socket that the agent uses (the login's `DOCKER_HOST` may name it), since
        other ones do not show the started containers. If the agent found none, use the usual
        sockets, and those of this login, which may appear later."""
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
        """Run the agent's constant command; waits while four sessions are open."""
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
        """A new connection to the host's Docker socket. Raises EngineError if there is none."""
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
        folder that only this user can enter, and is removed when the connection is closed or
        lost."""
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

    async def listen(self, accept: Callable[[ByteStream], None]) -> ReverseListener:
        """Open a port on the host's loopback; sshd chooses the number. Raises EngineError."""
        within = self._dialler.timings.open_session
        connection, silence = self._open_connection(), self._silence
        return await listen(self.host, connection, accept, silence=silence, within=within)

    async def open_socket(self, path: str) -> DockerSession:
        """A new connection to a Unix socket of the host. Raises EngineError if nothing listens."""
        connection = self._open_connection()
        stream = DockerSession(self.host, self._silence)
        with mapped_socket(self.host, path, connection.lost):
            async with asyncio.timeout(self._dialler.timings.open_session):
                await connection.raw.create_unix_connection(
                    lambda: stream, path, window=_DOCKER_WINDOW
                )
        return stream

    async def wait_closed(self) -> str:
        """Wait until the connection is closed or lost; returns the reason, for people."""
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
    """Release the slot of a session that could not be opened. If it has a channel, the slot is
    released when the channel closes."""
    if stream.attached:
        await stream.close()
    else:
        slots.release()
