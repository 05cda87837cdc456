"""One request of the synchronous client on its own connection, and a log as it arrives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hostler.base.errors import NoDaemonError
from hostler.base.wire import Response, WireError, encode_request
from hostler.client.calls import Call
from hostler.quick.socket import Found, connect, unreachable

BLOCK = 262144
"""Bytes that are read or sent at once."""
DIGEST = 64
"""Hex digits of a SHA-256, behind a file's bytes."""


class Exchange:
    """One request on its own connection, and its answer as it arrives."""

    def __init__(self, found: Found, call: Call, timeout: float | None) -> None:
        self._found = found
        self._call = call
        self._response = Response(head_only=call.method == "HEAD")
        self._connection = connect(found, timeout)
        self._early = b""
        self.is_refused = False
        """The daemon took no more of the request: its answer says why."""

    def send(self, body: bytes = b"") -> None:
        """The whole request."""
        self.send_raw(request_of(self._call, body))

    def send_raw(self, data: bytes) -> None:
        """Part of an encoded request; nothing once the daemon listens no more: then it has
        answered, or is gone. Raises NoDaemonError."""
        if self.is_refused:
            return
        try:
            self._connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.is_refused = True
        except OSError as error:
            raise unreachable(self._found, error) from error

    def head(self) -> Response:
        """The answer with its status and headers known."""
        while not self._response.status:
            self._early += self._receive()
        return self._response

    def read(self) -> bytes:
        """The next bytes of the body, b"" at its end.

        Raises TimeoutError after the timeout, NoDaemonError where the daemon goes away.
        """
        early, self._early = self._early, b""
        if early:
            return early
        while not self._response.done:
            part = self._receive(quiet_timeout=True)
            if part:
                return part
        return b""

    def body(self) -> bytes:
        """All of the body."""
        parts = []
        try:
            while part := self.read():
                parts.append(part)
        except TimeoutError as error:
            raise unreachable(self._found, error) from error
        return b"".join(parts)

    def set_timeout(self, timeout: float | None) -> None:
        """Seconds that each following read may take; None: any."""
        self._connection.settimeout(timeout)

    def close(self) -> None:
        """End it; may be called twice."""
        self._connection.close()

    def _receive(self, quiet_timeout: bool = False) -> bytes:
        try:
            data = self._connection.recv(BLOCK)
            if data:
                return self._response.feed(data)
            self._response.end()
        except TimeoutError as error:
            if quiet_timeout:
                raise
            raise unreachable(self._found, error) from error
        except WireError as error:
            raise _gone(self._found, error) from error
        except OSError as error:
            raise unreachable(self._found, error) from error
        return b""


def _gone(found: Found, error: Exception) -> NoDaemonError:
    return NoDaemonError(
        f"the daemon at {found.path} went away: {error}",
        remedy="Work goes on without it; `hostler daemon status` says whether it is back",
    )


def request_of(call: Call, body: bytes) -> bytes:
    """A call as bytes."""
    return encode_request(call.method, call.target, body=body, key=call.key, headers=call.headers)


def number_in(response: Response, header: str) -> int:
    """A header's number; 0 from a daemon that does not send it."""
    text = response.headers.get(header, "")
    return int(text) if text.isdigit() else 0


class Log:
    """A stage's output: iterate over it for bytes. `attempt` is the id of the attempt, `size` how
    many bytes its log had when it was asked for, `offset` where these begin."""

    def __init__(self, exchange: Exchange, response: Response) -> None:
        self.attempt = response.headers.get("x-hostler-attempt", "")
        self.size = number_in(response, "x-hostler-size")
        self.offset = number_in(response, "x-hostler-offset")
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        try:
            while part := self._exchange.read():
                yield part
        finally:
            self.close()

    def close(self) -> None:
        """Stop reading; may be called twice."""
        self._exchange.close()


class RemoteFile:
    """A file of a run: iterate over it for bytes. `size` is that of the whole file, `offset` where
    these bytes begin, `etag` its version, `where` it lies. `sha256`, of the whole file as it was
    read, is known at the end."""

    def __init__(self, exchange: Exchange, response: Response) -> None:
        self.info = FileInfo.of(response)
        self.size, self.offset = self.info.size, self.info.offset
        self.etag, self.where = self.info.etag, self.info.where
        self.sha256 = ""
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        tail = Tail(self.size - self.offset)
        try:
            while part := self._exchange.read():
                if data := tail.take(part):
                    yield data
            self.sha256 = tail.digest
        finally:
            self.close()

    def close(self) -> None:
        """Stop reading; may be called twice."""
        self._exchange.close()


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What the head of an answer says of a file."""

    size: int
    offset: int
    etag: str
    where: str

    @classmethod
    def of(cls, response: Response) -> FileInfo:
        """From the headers."""
        headers = response.headers
        size, offset = number_in(response, "content-length") - DIGEST, 0
        if response.status == 206:
            span, _, total = headers.get("content-range", "").partition("/")
            size, offset = int(total), int(span.removeprefix("bytes ").partition("-")[0])
        return cls(size, offset, headers.get("etag", ""), headers.get("x-hostler-where", ""))


class Tail:
    """Tells a file's bytes from the digest behind them."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._held = b""

    def take(self, data: bytes) -> bytes:
        """What of these bytes belongs to the file."""
        if len(data) <= self._left:
            self._left -= len(data)
            return data
        own, self._left = data[: self._left], 0
        self._held = (self._held + data[len(own) :])[:DIGEST]
        return own

    @property
    def digest(self) -> str:
        """SHA-256 of the file, at the end."""
        return self._held.decode("ascii", "replace")
