"""`ports.Door` to this machine: child processes, local streams, and where Docker's or Podman's
socket is searched."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeAlias

from hostler.base.errors import AgentError, EngineError, Unreachable
from hostler.base.programs import safe_environ
from hostler.base.text import last_words
from hostler.ports import ByteStream

_USUAL_DOCKER = ("/var/run/docker.sock", "{run}/docker.sock", "{run}/podman/podman.sock",
                 "/run/podman/podman.sock")  # fmt: skip

_COMPLAINT = 4096
_PATIENCE = 1.0
_KILLED_WITHIN = 30.0
"""Seconds after SIGKILL: on a busy machine the end of a process is noticed late. Without the wait
it would stay a zombie."""


class SocketStream:
    """A connected Unix socket."""

    def __init__(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._host, self._reader, self._writer = host, reader, writer

    async def read(self, limit: int = 65536) -> bytes:
        """At least one byte, at most `limit`; b"" at the end. Raises Unreachable when cut."""
        try:
            return await self._reader.read(limit)
        except OSError as error:
            raise Unreachable(self._host, f"reading: {error.strerror or error}") from error

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow. Raises Unreachable when cut."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise Unreachable(self._host, f"writing: {error.strerror or error}") from error

    async def close(self) -> None:
        """End it at once; may be called twice."""
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


Pair: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
"""asyncio's streams of one socket."""


class ProcessStream(SocketStream):
    """A command of this machine. Its stdin and its stdout are two sockets: if it ends before it has
    read all of its input, only the one breaks, and its output is still read from the other."""

    def __init__(
        self,
        host: str,
        given: Pair,
        said: Pair,
        process: asyncio.subprocess.Process,
        stderr: IO[bytes],
    ) -> None:
        super().__init__(host, said[0], given[1])
        self._output = said[1]
        self._process, self._stderr = process, stderr

    @property
    def complaint(self) -> str:
        """The command's stderr and how it ended; "" when there is nothing to report."""
        parts = [last_words(self._said(), 500)]
        status = self._process.returncode
        if status:
            parts.append(
                f"exit status {status}"
                if status > 0
                else f"ended by signal {signal.Signals(-status).name}"
            )
        return "; ".join(part for part in parts if part)

    async def read(self, limit: int = 65536) -> bytes:
        """Like a socket, but the end of the command, for any reason, is only the end of the
        stream."""
        try:
            return await self._reader.read(limit)
        except ConnectionError:
            return b""

    async def close(self) -> None:
        """End it at once: EOF on its stdin, then TERM and KILL if it does not end. Its children in
        their own sessions continue."""
        try:
            self._output.transport.abort()
            await super().close()
            for send in (None, signal.SIGTERM):
                self._signal(send)
                if await self._ended(_PATIENCE):
                    return
            self._signal(signal.SIGKILL)
            await self._ended(_KILLED_WITHIN)
        except asyncio.CancelledError:
            self._signal(signal.SIGKILL)
            await self._process.wait()
            raise
        finally:
            self._stderr.close()

    def _signal(self, send: signal.Signals | None) -> None:
        if send is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(send)

    async def _ended(self, within: float) -> bool:
        try:
            async with asyncio.timeout(within):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    def _said(self) -> str:
        if self._stderr.closed:
            return ""
        size = self._stderr.seek(0, 2)
        self._stderr.seek(max(0, size - _COMPLAINT))
        return self._stderr.read(_COMPLAINT).decode("utf-8", "replace").strip()


async def connect_socket(host: str, path: str) -> SocketStream:
    """Connect to a Unix socket. Raises OSError."""
    reader, writer = await asyncio.open_unix_connection(path)
    return SocketStream(host, reader, writer)


async def wrap_socket(sock: socket.socket) -> Pair:
    """A connected Unix socket as asyncio's streams, which then own it."""
    return await asyncio.open_unix_connection(sock=sock)


def _usual_docker() -> tuple[str, ...]:
    """Where Docker may listen, as the agent looks for it: `DOCKER_HOST` is the only place."""
    named = os.environ.get("DOCKER_HOST", "")
    if named.startswith("unix://"):
        return (named.removeprefix("unix://"),)
    run = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return tuple(path.format(run=run) for path in _USUAL_DOCKER)


class LocalListener:
    """An open port of this machine's loopback."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server
        self.port: int = server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Close the port; open connections stay until they end."""
        self._server.close()


class LocalDoor:
    """This machine under a host's name. Its "connection" lasts until `close`."""

    def __init__(self, host: str, docker_socket: str | None = None) -> None:
        self._host = host
        self._docker_paths = (docker_socket,) if docker_socket else _usual_docker()
        self._closed: asyncio.Event | None = None

    @property
    def host(self) -> str:
        """The host's name in the config."""
        return self._host

    @property
    def transport(self) -> str:
        """ "local"."""
        return "local"

    async def connect(self) -> None:
        """Does nothing, and cannot fail."""
        if self._closed is None or self._closed.is_set():
            self._closed = asyncio.Event()

    async def exec_agent(self, command: str) -> ProcessStream:
        """Run the one constant command in a new session, so that ^C does not reach it."""
        self._check_open()
        given, stdin = socket.socketpair()
        said, stdout = socket.socketpair()
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 (the stream closes it)
        try:
            process = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", command,
                stdin=stdin.fileno(), stdout=stdout.fileno(), stderr=stderr,
                start_new_session=True, cwd=Path.home(), env=safe_environ(),
            )  # fmt: skip
            pairs = await wrap_socket(given), await wrap_socket(said)
        except OSError as error:
            for each in (given, said, stderr):
                each.close()
            raise AgentError(self._host, f"/bin/sh cannot be started: {error}") from error
        finally:
            stdin.close()
            stdout.close()
        return ProcessStream(self._host, *pairs, process, stderr)

    async def open_docker(self) -> SocketStream:
        """A new connection to this machine's Docker socket. Raises EngineError."""
        stream, _ = await self._find_docker()
        return stream

    async def docker_url(self) -> str:
        """The socket's own URL. Raises EngineError when nothing answers there."""
        stream, path = await self._find_docker()
        await stream.close()
        return f"unix://{path}"

    async def listen(self, accept: Callable[[ByteStream], None]) -> LocalListener:
        """A port on the loopback, which the kernel chooses."""
        self._check_open()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accept(SocketStream(self._host, reader, writer))

        return LocalListener(await asyncio.start_server(connected, "127.0.0.1", 0))

    async def open_socket(self, path: str) -> SocketStream:
        """A new connection to a Unix socket of this machine. Raises EngineError if nothing
        listens."""
        self._check_open()
        try:
            return await connect_socket(self._host, path)
        except OSError as error:
            why = error.strerror or str(error)
            raise EngineError(self._host, f"nothing answers at {path}: {why}") from error

    async def wait_closed(self) -> str:
        """Until `close`."""
        if self._closed is not None:
            await self._closed.wait()
        return "closed"

    async def close(self) -> None:
        """Refuse new streams; open ones stay until they are closed."""
        if self._closed is not None:
            self._closed.set()

    def _check_open(self) -> None:
        if self._closed is None or self._closed.is_set():
            raise Unreachable(self._host, "not connected")

    async def _find_docker(self) -> tuple[SocketStream, str]:
        self._check_open()
        first = ""
        for path in self._docker_paths:
            try:
                return await connect_socket(self._host, path), path
            except OSError as error:
                first = first or error.strerror or str(error)
        raise EngineError(
            self._host,
            f"no Docker at {self._docker_paths[0]}: {first}",
            remedy="check that dockerd runs and that you are in group docker",
        )
