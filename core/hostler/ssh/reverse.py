"""Reverse port forwarding: a port on the host's loopback whose connections reach the daemon, and
the error if sshd forbids it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncssh

from hostler.base.errors import EngineError, Unreachable
from hostler.ports import ByteStream
from hostler.ssh.connection import Connection
from hostler.ssh.faults import mapped_use
from hostler.ssh.streams import ChannelStream

LOOPBACK = "127.0.0.1"
_WINDOW = 512 * 1024


class ReverseSession(ChannelStream, asyncssh.SSHTCPSession[bytes]):
    """A connection to the port; any user of the host can open one."""

    accept: Callable[[ByteStream], None]

    def session_started(self) -> None:
        """The channel is open."""
        self.accept(self)


class ReverseListener:
    """An open port on a host."""

    def __init__(self, listener: asyncssh.SSHListener) -> None:
        self._listener = listener
        self.port = listener.get_port()

    async def close(self) -> None:
        """Close the port; open connections end on their own."""
        self._listener.close()


async def listen(
    host: str, connection: Connection, accept: Callable[[ByteStream], None], *,
    silence: float, within: float,
) -> ReverseListener:  # fmt: skip
    """Open a port whose number the host's sshd chooses. Raises EngineError if sshd forbids it."""

    def session(_host: str, _port: int) -> ReverseSession:
        made = ReverseSession(host, silence)
        made.accept = accept
        return made

    try:
        with mapped_use(host, "opening a port for a push", connection.lost):
            async with asyncio.timeout(within):
                listener = await connection.raw.create_server(session, LOOPBACK, 0, window=_WINDOW)
    except asyncssh.ChannelListenError as error:
        if connection.lost.done():
            raise Unreachable(host, connection.lost.result()) from error
        raise _refused(host, str(error)) from error
    except TimeoutError as error:
        raise Unreachable(host, "opening a port for a push: no answer in time") from error
    return ReverseListener(listener)


def _refused(host: str, why: str) -> EngineError:
    return EngineError(
        host,
        f"sshd on {host} opens no port for a push: {why}",
        remedy="allow it there (AllowTcpForwarding)",
    )
