"""One request of the asynchronous client on its own connection, and a log as it arrives."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

from hostler.base.errors import NoDaemonError
from hostler.base.wire import Response, WireError
from hostler.client.calls import Call
from hostler.client.exchange import BLOCK, FileInfo, Tail, number_in, request_of
from hostler.quick.socket import Found, check_server, unreachable


class AsyncExchange:
    """One request on its own connection, and its answer as it arrives."""

    def __init__(self, found: Found, call: Call) -> None:
        self._found = found
        self._call = call
        self._response = Response(head_only=call.method == "HEAD")
        # Not a stream: that forgets what it has received when it cannot send any more, and the
        # daemon answers before it has read all of a request that it refuses.
        self._socket: socket.socket | None = None
        self._early = b""
        self.is_refused = False
        """The daemon took no more of the request: its answer says why."""

    async def send(self, body: bytes = b"") -> None:
        """Connect and send the whole request. Raises NoDaemonError."""
        await self.open()
        await self.send_raw(request_of(self._call, body))

    async def open(self) -> None:
        """Connect. Raises NoDaemonError."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            await asyncio.get_running_loop().sock_connect(self._socket, self._found.path)
        except OSError as error:
            raise unreachable(self._found, error) from error
        check_server(self._found, self._socket)

    async def send_raw(self, data: bytes) -> None:
        """Part of an encoded request, waiting while the daemon is slow; nothing once the daemon
        listens no more."""
        assert self._socket is not None
        if self.is_refused:
            return
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)
        except (BrokenPipeError, ConnectionResetError):
            self.is_refused = True
        except OSError as error:
            raise unreachable(self._found, error) from error

    async def head(self) -> Response:
        """The answer with its status and headers known."""
        while not self._response.status:
            self._early += await self._receive()
        return self._response

    async def read(self) -> bytes:
        """The next bytes of the body, b"" at its end. Raises NoDaemonError."""
        early, self._early = self._early, b""
        if early:
            return early
        while not self._response.done:
            part = await self._receive()
            if part:
                return part
        return b""

    async def body(self) -> bytes:
        """All of the body."""
        parts = []
        while part := await self.read():
            parts.append(part)
        return b"".join(parts)

    async def close(self) -> None:
        """End it; may be called twice."""
        if self._socket is not None:
            connection, self._socket = self._socket, None
            connection.close()

    async def _receive(self) -> bytes:
        assert self._socket is not None
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, BLOCK)
            if data:
                return self._response.feed(data)
            self._response.end()
        except WireError as error:
            raise NoDaemonError(
                f"the daemon at {self._found.path} went away: {error}",
                remedy="Work goes on without it; `hostler daemon status` says whether it is back",
            ) from error
        except OSError as error:
            raise unreachable(self._found, error) from error
        return b""


class AsyncLog:
    """A stage's output: iterate over it for bytes; see `Log`."""

    def __init__(self, exchange: AsyncExchange, response: Response) -> None:
        self.attempt = response.headers.get("x-hostler-attempt", "")
        self.size = number_in(response, "x-hostler-size")
        self.offset = number_in(response, "x-hostler-offset")
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while part := await self._exchange.read():
                yield part
        finally:
            await self.close()

    async def close(self) -> None:
        """Stop reading; may be called twice."""
        await self._exchange.close()


class AsyncRemoteFile:
    """A file of a run: iterate over it for bytes; see `RemoteFile`."""

    def __init__(self, exchange: AsyncExchange, response: Response) -> None:
        self.info = FileInfo.of(response)
        self.size, self.offset = self.info.size, self.info.offset
        self.etag, self.where = self.info.etag, self.info.where
        self.sha256 = ""
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        tail = Tail(self.size - self.offset)
        try:
            while part := await self._exchange.read():
                if data := tail.take(part):
                    yield data
            self.sha256 = tail.digest
        finally:
            await self.close()

    async def close(self) -> None:
        """Stop reading; may be called twice."""
        await self._exchange.close()
