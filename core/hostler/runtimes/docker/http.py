"""Streaming Docker calls over a forwarded connection (logs, waits, pulls), and the errors of
interrupted and invalid answers. Uses tasks, no threads.

Requests are sent as HTTP/1.0. The body then ends with the connection and has no chunks; decoding a
chunk per log line would take more time than all other work here. A cut connection can look like a
normal end, so each caller checks the container's state afterwards.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from urllib.parse import urlencode

import h11

from hostler.base.errors import EngineError, Unreachable
from hostler.base.text import Lines
from hostler.model.timings import DEFAULT, RuntimeTimings
from hostler.ports import ByteStream, HostLink
from hostler.runtimes.docker.explain import engine_error
from hostler_agent.json_values import Message

_READ = 256 * 1024
_ERROR_CAP = 64 * 1024
_LINE_CAP = 8 * 1024 * 1024


class Response:
    """The answer to one request. One of the methods reads the body, once."""

    def __init__(self, host: str, stream: ByteStream, parser: h11.Connection) -> None:
        self._host = host
        self._stream = stream
        self._parser = parser
        self._plain = False
        """Whether the body has no length and no chunks: it ends with the connection."""
        self.status = 0
        self.headers: dict[str, str] = {}
        """By lower-case name."""

    async def head(self) -> None:
        """Read status and headers."""
        event = await self._next()
        while isinstance(event, h11.InformationalResponse):
            event = await self._next()
        if not isinstance(event, h11.Response):
            raise Unreachable(self._host, "Docker closed the connection without an answer")
        self.status = event.status_code
        self.headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in event.headers}
        framed = {b"content-length", b"transfer-encoding"}
        self._plain = not any(name in framed for name, _ in event.headers)

    async def body(self) -> AsyncGenerator[bytes, None]:
        """The body in pieces as they arrive. Raises Unreachable when cut."""
        if self._plain:
            # A log arrives line by line, so the fast path avoids the parser.
            data = bytes(self._parser.trailing_data[0]) or await self._stream.read(_READ)
            while data:
                yield data
                data = await self._stream.read(_READ)
            return
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)

    async def json_lines(self) -> AsyncGenerator[Message, None]:
        """The body as JSON objects, one per line; other lines are skipped."""
        lines = Lines()
        async for data in self.body():
            for line in lines.feed(data):
                if (value := _json_object(line)) is not None:
                    yield value
            if lines.waiting > _LINE_CAP:
                raise EngineError(self._host, "Docker sent a line over 8 MiB")
        if (value := _json_object(lines.rest())) is not None:
            yield value

    async def text(self, within: float, cap: int = _ERROR_CAP) -> str:
        """The body, at most `cap` bytes, and only those that arrive within `within` seconds."""
        taken = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(within), aclosing(self.body()) as pieces:
                async for data in pieces:
                    taken += data
                    if len(taken) >= cap:
                        break
        return taken[:cap].decode("utf-8", "replace")

    async def _next(self) -> h11.Event | None:
        while True:
            try:
                event = self._parser.next_event()
                if isinstance(event, h11.Event):
                    return event
                if event is h11.PAUSED:
                    return None
                self._parser.receive_data(await self._stream.read(_READ))
            except h11.RemoteProtocolError as error:
                raise EngineError(self._host, f"Docker's answer is not HTTP: {error}") from error


@asynccontextmanager
async def upload(
    link: HostLink,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: AsyncIterator[bytes],
    timings: RuntimeTimings = DEFAULT.runtimes,
) -> AsyncIterator[Response]:
    """A POST with a body of unknown length, otherwise like `request`. If Docker answers before it
    has the whole body, the rest is not sent."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=64 * 1024)
    sent = h11.Request(
        method="POST",
        target=f"{path}?{urlencode(query)}",
        headers=[
            ("Host", "docker"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            *headers.items(),
        ],
    )
    stream = await _open(link)
    sending = asyncio.ensure_future(_send(stream, parser, sent, body))
    try:
        response = Response(link.host, stream, parser)
        await _first_of(sending, response)
        if response.status >= 400:
            raise await _refusal(link.host, f"POST {path}", response, timings.refusal_read)
        yield response
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await stream.close()


async def _send(
    stream: ByteStream, parser: h11.Connection, head: h11.Request, body: AsyncIterator[bytes]
) -> None:
    await stream.write(parser.send(head) or b"")
    async for data in body:
        await stream.write(parser.send(h11.Data(data)) or b"")
    await stream.write(parser.send(h11.EndOfMessage()) or b"")


async def _first_of(sending: asyncio.Future[None], response: Response) -> None:
    """Read the head of the answer. If sending fails first, raises that error, unless Docker had
    sent an error of its own before it closed the connection."""
    reading = asyncio.ensure_future(response.head())
    try:
        await asyncio.wait((sending, reading), return_when=asyncio.FIRST_EXCEPTION)
        failed = sending.exception() if sending.done() else None
        if failed is not None and not isinstance(failed, Unreachable):
            raise failed
        await reading
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@asynccontextmanager
async def request(
    link: HostLink,
    method: str,
    path: str,
    query: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
    timings: RuntimeTimings = DEFAULT.runtimes,
) -> AsyncIterator[Response]:
    """One request with an empty body on a new connection, which is closed at the end.

    Raises Unreachable if the link is cut or Docker does not run, EngineError if it answers with an
    error (`status` is set).
    """
    target = f"{path}?{urlencode(query)}" if query else path
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=64 * 1024)
    sent = h11.Request(
        method=method,
        target=target,
        headers=[("Host", "docker"), ("Content-Length", "0"), *(headers or {}).items()],
    )
    head = parser.send(sent) or b""
    parser.send(h11.EndOfMessage())
    stream = await _open(link)
    try:
        await stream.write(head.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1))
        response = Response(link.host, stream, parser)
        await response.head()
        if response.status >= 400:
            raise await _refusal(link.host, f"{method} {path}", response, timings.refusal_read)
        yield response
    finally:
        await stream.close()


async def docker_url(link: HostLink) -> str:
    """The link's own URL. Raises Unreachable if Docker is missing."""
    try:
        return await link.docker_url()
    except EngineError as error:
        raise _silent(link.host, error) from error


async def _open(link: HostLink) -> ByteStream:
    try:
        return await link.open_docker()
    except EngineError as error:
        raise _silent(link.host, error) from error


def _silent(host: str, error: EngineError) -> Unreachable:
    # Docker ran when the stage was placed, so it is restarting or being upgraded. Waiting is safe;
    # any other conclusion would end stages that still run.
    return Unreachable(host, error.message, remedy=error.remedy)


async def _refusal(host: str, what: str, response: Response, within: float) -> EngineError:
    text = await response.text(within)
    body = _json_object(text.encode())
    return engine_error(host, what, response.status, str((body or {}).get("message", text)))


def _json_object(line: bytes) -> Message | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
