"""The steps (connect, send, receive, pause) by which client operations are written once for the
blocking and the asyncio transport.

A generator yields a step (connect, send, receive, pause, call this function) and is sent what came
of it. `sync` carries the steps out with blocking sockets, `aio` with asyncio. Everything else
in the client consists of such generators, and does not know which of the two carries it out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeAlias, TypeVar

from hostler.quick.socket import DEFAULT_TIMEOUT, Found, find_socket

if TYPE_CHECKING:
    import socket
    from pathlib import Path

T = TypeVar("T")


class Line:
    """One connection to the daemon. The transport that opens it sets the other fields."""

    def __init__(
        self, least: float = 0.0, timeout: float | None = None, found: Found | None = None,
        connection: socket.socket | None = None,
    ) -> None:  # fmt: skip
        self.least = least
        """Seconds that each step may take, where the client's own timeout is shorter."""
        self.timeout = timeout
        """Seconds that each further step may take; None: no limit. Set before `Open`, it replaces
        the others."""
        self.found = found
        self.connection = connection

    def begin(self, found: Found, timeout: float) -> None:
        """A client with this timeout connects to this socket."""
        self.found = found
        self.timeout = self.timeout or max(timeout, self.least)

    def close(self) -> None:
        """Close the connection; may be called twice."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()


class Open(NamedTuple):
    """Connect. Raises NoDaemonError."""

    line: Line


class Send(NamedTuple):
    """Send all of these bytes. Raises OSError."""

    line: Line
    data: bytes


class Receive(NamedTuple):
    """Receive some bytes; b"" if the connection has ended. Raises OSError."""

    line: Line


class Pause(NamedTuple):
    """Wait this many seconds."""

    seconds: float


class Revive:
    """The daemon has ended: start it again, if the client can."""


class Local(NamedTuple):
    """Call a function that works on this machine (files, git): never on the event loop."""

    function: Callable[[Blocking], object]


class Emit(NamedTuple, Generic[T]):
    """A value for the caller that iterates over a flow."""

    value: T


Step: TypeAlias = Open | Send | Receive | Pause | Revive | Local
Io: TypeAlias = Generator[Step, bytes, T]
"""Steps with one value at the end."""
Flow: TypeAlias = Generator[Step | Emit[T], bytes, None]
"""Steps that yield values."""


class Transport:
    """What both transports know of the daemon."""

    def __init__(
        self,
        socket_path: str | Path | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        found: Found | None = None,
        revive: Callable[[], object] | None = None,
    ) -> None:
        self.found = found or find_socket(str(socket_path) if socket_path else None)
        self.timeout = timeout
        self.revive = revive


class Blocking(Transport, ABC):
    """The blocking transport."""

    @abstractmethod
    def each(self, flow: Flow[T]) -> Iterator[T]:
        """The values of a flow as they arrive."""

    def carry_out(self, work: Io[T]) -> T:
        """Carry out all steps; their value."""
        value: list[T] = []
        for _ in self.each(kept(work, value)):
            pass
        return value[0]


class Concurrent(Transport, ABC):
    """The transport on an event loop."""

    @abstractmethod
    def each(self, flow: Flow[T]) -> AsyncIterator[T]:
        """The values of a flow as they arrive."""

    async def carry_out(self, work: Io[T]) -> T:
        """Carry out all steps; their value."""
        value: list[T] = []
        async for _ in self.each(kept(work, value)):
            pass
        return value[0]


def kept(work: Io[T], value: list[T]) -> Flow[None]:
    """Carry out the steps, and store their value there at the end."""
    value.append((yield from work))


def local(function: Callable[[Blocking], T]) -> Io[T]:
    """The result of a function that works on this machine. It receives a blocking client."""
    value: list[T] = []
    yield Local(lambda client: value.append(function(client)))
    return value[0]
