"""One request and its answer, without I/O: whether a lost call is repeated, for how long and
after which pause. The daemon may have carried out a call whose answer was lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from hostler.base.errors import NoDaemonError
from hostler.base.wire import Response, WireError, encode_request
from hostler.client import calls
from hostler.client.call import Call
from hostler.client.flow import Blocking, Concurrent, Io, Line, Open, Pause, Receive, Revive, Send
from hostler.quick.socket import (
    Found,
    check_level_of,
    checked_size,
    decode_answer,
    fed,
    is_lost,
    unreachable,
    unreadable,
)

P = ParamSpec("P")
T = TypeVar("T")

AGAIN_WITHIN_S = 15.0
"""Seconds to wait for a daemon that went away."""
PAUSE_S = 0.2


def is_away(error: NoDaemonError) -> bool:
    """Whether the daemon may soon be back."""
    return is_lost(error) or isinstance(
        error.__cause__, (FileNotFoundError, ConnectionRefusedError)
    )


def unknown(error: NoDaemonError, key: str) -> NoDaemonError:
    """The error if the daemon did not come back."""
    return NoDaemonError(
        f"{error.message}; it is unknown whether the run was submitted",
        remedy="Look for it with `hostler runs` once the daemon is back; in Python, repeat the "
        f"call with key={key!r}: that creates no second run",
    )


class Exchange:
    """One request on its own connection, and its answer as it arrives."""

    def __init__(self, call: Call[T], timeout: float | None = None) -> None:
        self.line = Line(least=call.least, timeout=timeout)
        self.is_refused = False
        """The daemon stopped reading the request: its answer says why."""
        self._response = Response(head_only=call.method == "HEAD")
        self._early = b""
        self._asks_version = call.target == calls.version().target

    def send(self, data: bytes) -> Io[None]:
        """Part of an encoded request; sends nothing once the daemon stops reading: then the daemon
        has answered, or is gone. Connects first. Raises NoDaemonError."""
        if self.line.found is None:
            yield Open(self.line)
        if self.is_refused:
            return
        try:
            yield Send(self.line, data)
        except (BrokenPipeError, ConnectionResetError):
            self.is_refused = True
        except OSError as error:
            raise unreachable(self.found, error) from error

    def head(self) -> Io[Response]:
        """The answer with its status and headers known. Raises HostlerError if the daemon speaks
        another level of the API, unless the caller requested that level."""
        try:
            while not self._response.status:
                self._early += yield from self._receive()
        except TimeoutError as error:
            raise unreachable(self.found, error) from error
        if not self._asks_version:
            check_level_of(self._response.headers.get("server", ""))
        return self._response

    def good_head(self) -> Io[Response]:
        """The head of a streamed answer. Raises the error in a bad answer."""
        response = yield from self.head()
        if response.status >= 400:
            decode_answer(response.status, (yield from self.body()))
        return response

    def read(self) -> Io[bytes]:
        """The next bytes of the body, b"" at its end.

        Raises TimeoutError if none arrive in time, NoDaemonError if the daemon goes away.
        """
        early, self._early = self._early, b""
        while not early and not self._response.done:
            early = yield from self._receive()
        return early

    def body(self) -> Io[bytes]:
        """The whole body."""
        parts, size = [], 0
        try:
            while part := (yield from self.read()):
                parts.append(part)
                size = checked_size(size + len(part))
        except TimeoutError as error:
            raise unreachable(self.found, error) from error
        return b"".join(parts)

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self.line.close()

    @property
    def found(self) -> Found:
        """The daemon's socket; known after the first connection."""
        assert self.line.found is not None
        return self.line.found

    def _receive(self) -> Io[bytes]:
        try:
            data = yield Receive(self.line)
            if data:
                return fed(self._response, data)
            self._response.end()
        except TimeoutError:
            raise
        except WireError as error:
            raise NoDaemonError(
                f"the connection to the daemon at {self.found.path} was lost: {error}",
                remedy="Work continues without it; `hostler daemon status` shows whether it "
                "is back",
            ) from error
        except OSError as error:
            raise unreachable(self.found, error) from error
        return b""


def encoded(call: Call[T]) -> bytes:
    """A call as bytes."""
    raw = isinstance(call.body, bytes)
    kind = "application/octet-stream" if raw else "application/json"
    return encode_request(
        call.method, call.target, body=_bytes(call.body), key=call.key, headers=call.headers,
        content_type=kind,
    )  # fmt: skip


def _bytes(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    return b"" if body is None else json.dumps(body).encode()


def ask(call: Call[T], timeout: float | None = None) -> Io[T]:
    """A call's answer. Raises NoDaemonError, or the error in the daemon's answer."""
    exchange = Exchange(call, timeout)
    try:
        yield from exchange.send(encoded(call))
        response = yield from exchange.head()
        answer = decode_answer(response.status, (yield from exchange.body()))
    finally:
        exchange.close()
    try:
        return call.decode(answer)
    except (ValueError, RecursionError) as error:
        raise unreadable(f"that to {call.target} {error}") from error


def ask_surely(call: Call[T]) -> Io[T]:
    """The answer to a call with a key: it is sent once more if its answer was lost."""
    try:
        return (yield from ask(call))
    except NoDaemonError as error:
        if not is_lost(error):
            raise
    yield Revive()
    ends = time.monotonic() + AGAIN_WITHIN_S
    while True:
        try:
            return (yield from ask(call))
        except NoDaemonError as error:
            if not is_away(error) or time.monotonic() > ends:
                raise unknown(error, call.key) from error
        yield Pause(PAUSE_S)


def bound(client: Blocking | Concurrent, work: Callable[P, Call[T] | Io[T]]) -> Callable[P, object]:
    """What carries out work by a client. A call with a key is repeated where its answer is lost."""

    def method(*args: P.args, **kwargs: P.kwargs) -> object:
        made = work(*args, **kwargs)
        if isinstance(made, Call):
            made = ask_surely(made) if made.key else ask(made)
        return client.carry_out(made)

    return method


def opened(call: Call[T]) -> Io[tuple[Exchange, Response]]:
    """A call whose good answer is read piece by piece; the caller closes the exchange."""
    exchange = Exchange(call)
    try:
        yield from exchange.send(encoded(call))
        return exchange, (yield from exchange.good_head())
    except BaseException:
        exchange.close()
        raise
