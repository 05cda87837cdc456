"""`ports.Door` to this machine: a child process and Docker's own socket."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from pathlib import Path

from hostler.base.errors import AgentError, EngineError, Unreachable
from hostler.base.programs import safe_environ
from hostler.local.streams import ProcessStream, SocketStream, connect_socket, wrap_socket

_USUAL_DOCKER = ("/var/run/docker.sock", "{run}/docker.sock", "{run}/podman/podman.sock",
                 "/run/podman/podman.sock")  # fmt: skip


def _usual_docker() -> tuple[str, ...]:
    """Where Docker may listen, as the agent looks for it: `DOCKER_HOST` is the only place."""
    named = os.environ.get("DOCKER_HOST", "")
    if named.startswith("unix://"):
        return (named.removeprefix("unix://"),)
    run = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return tuple(path.format(run=run) for path in _USUAL_DOCKER)


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
        """Nothing to do, and nothing that could fail."""
        if self._closed is None or self._closed.is_set():
            self._closed = asyncio.Event()

    async def exec_agent(self, command: str) -> ProcessStream:
        """Run the one constant command in a session of its own, so that ^C does not reach it."""
        self._check_open()
        ours, theirs = socket.socketpair()
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 (the stream closes it)
        try:
            process = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", command,
                stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=stderr,
                start_new_session=True, cwd=Path.home(), env=safe_environ(),
            )  # fmt: skip
            streams = await wrap_socket(ours)
        except OSError as error:
            ours.close()
            stderr.close()
            raise AgentError(self._host, f"/bin/sh cannot be started: {error}") from error
        finally:
            theirs.close()
        return ProcessStream(self._host, streams, process, stderr)

    async def open_docker(self) -> SocketStream:
        """A new connection to this machine's Docker socket. Raises EngineError."""
        stream, _ = await self._find_docker()
        return stream

    async def docker_url(self) -> str:
        """The socket's own URL. Raises EngineError when nothing answers there."""
        stream, path = await self._find_docker()
        await stream.close()
        return f"unix://{path}"

    async def wait_closed(self) -> str:
        """Until `close`."""
        if self._closed is not None:
            await self._closed.wait()
        return "closed"

    async def close(self) -> None:
        """Nothing new can be opened; what is open ends with its streams."""
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
