"""Reads streamed answers (logs, files, lines of events): longest wait for a file, its digest at
the end, and signs of life. No I/O."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from hostler.base.errors import HostlerError
from hostler.base.text import Lines
from hostler.base.wire import Response, whole
from hostler.client import calls
from hostler.client.call import CHANGE_S, Call
from hostler.client.exchange import Exchange, encoded
from hostler.client.flow import Blocking, Concurrent, Emit, Flow, Io
from hostler.quick.socket import checked_size, parse, unreachable, unreadable

if TYPE_CHECKING:
    from hostler.model.views.alerts import StreamLine

DIGEST = 64
"""Hex digits of a SHA-256, after a file's bytes."""
SLOWEST = 32 * 1024 * 1024
"""Bytes per second: a host reads (and hashes) existing bytes at least this fast."""
LONGEST_S = 3600.0
"""As long as an agent says that it is still at that."""
T = TypeVar("T")
C = TypeVar("C", bound=Blocking | Concurrent)


class Body(Generic[C]):
    """Bytes that arrive, to be iterated over once."""

    def __init__(self, client: C, exchange: Exchange) -> None:
        self._client = client
        self._exchange = exchange

    def _parts(self) -> Flow[bytes]:
        try:
            while part := (yield from self._exchange.read()):
                yield Emit(part)
        except TimeoutError as error:
            raise unreachable(self._exchange.found, error) from error
        finally:
            self._exchange.close()


class LogBody(Body[C]):
    """A stage's output. `attempt` is the id of the attempt, `size` how many bytes its log had when
    it was asked for, `offset` where these begin."""

    def __init__(self, client: C, exchange: Exchange, response: Response) -> None:
        super().__init__(client, exchange)
        self.attempt = response.headers.get("x-hostler-attempt", "")
        self.size = number_in(response, "x-hostler-size")
        self.offset = number_in(response, "x-hostler-offset")
        is_whole = "content-length" in response.headers  # else it is followed
        exchange.line.timeout = CHANGE_S if is_whole else None


class FileBody(Body[C]):
    """A file of a run. `size` is that of the whole file, `offset` where these bytes begin, `etag`
    its version, `where` its place. `sha256`, of the whole file as it was read, is known at the
    end."""

    def __init__(self, client: C, exchange: Exchange, response: Response) -> None:
        super().__init__(client, exchange)
        try:
            info = FileInfo.of(response)
        except HostlerError:
            exchange.close()
            raise
        self.size, self.offset, self.etag, self.where = (
            info.size, info.offset, info.etag, info.where,
        )  # fmt: skip
        self.sha256 = ""
        usual = exchange.line.timeout or 0.0
        exchange.line.timeout = max(usual, min(LONGEST_S, self.size / SLOWEST))

    def _parts(self) -> Flow[bytes]:
        tail = Tail(self.size - self.offset)
        try:
            while part := (yield from self._exchange.read()):
                if data := tail.take(part):
                    yield Emit(data)
            self.sha256 = tail.digest
        finally:
            self._exchange.close()


class _Read(Body[Blocking]):
    def __iter__(self) -> Iterator[bytes]:
        return self._client.each(self._parts())

    def close(self) -> None:
        """Stop reading; may be called twice."""
        self._exchange.close()


class _AsyncRead(Body[Concurrent]):
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._client.each(self._parts())

    async def close(self) -> None:
        """Stop reading; may be called twice."""
        self._exchange.close()


class Log(LogBody[Blocking], _Read):
    """Iterate over it for bytes. See `LogBody`."""


class AsyncLog(LogBody[Concurrent], _AsyncRead):
    """Iterate over it for bytes. See `LogBody`."""


class RemoteFile(FileBody[Blocking], _Read):
    """Iterate over it for bytes. See `FileBody`."""


class AsyncRemoteFile(FileBody[Concurrent], _AsyncRead):
    """Iterate over it for bytes. See `FileBody`."""


class JsonLines(Generic[T]):
    """An answer with one JSON value per line, read line by line."""

    def __init__(self, call: Call[T]) -> None:
        self.exchange = Exchange(call)
        self.call = call
        self._lines = Lines()

    def open(self) -> Io[None]:
        """Request the lines."""
        yield from self.exchange.send(encoded(self.call))
        yield from self.exchange.good_head()

    def read(self) -> Io[list[T]]:
        """The next lines, [] at the end. Raises TimeoutError if none arrive in time."""
        while part := (yield from self.exchange.read()):
            lines = self._lines.feed(part)
            checked_size(self._lines.waiting)
            found = [self._value(line) for line in lines if line.strip()]
            if found:
                return found
        return []

    def _value(self, line: bytes) -> T:
        try:
            return self.call.decode(parse(line))
        except (ValueError, RecursionError) as error:
            raise unreadable(f"a line of that to {self.call.target}: {error}") from error


def lines(call: Call[T], *, follow: bool, tick: float | None) -> Flow[T]:
    """The lines of an answer. With `tick`, an empty object comes after each that many seconds of
    silence, as one comes from the daemon now and then."""
    source = JsonLines(call)
    try:
        yield from source.open()
        if follow or tick is not None:
            source.exchange.line.timeout = tick
        while found := (yield from _some(source, tick)):
            for line in found:
                yield Emit(line)
    finally:
        source.exchange.close()


def _some(source: JsonLines[T], tick: float | None) -> Io[list[T]]:
    try:
        return (yield from source.read())
    except TimeoutError as error:
        if tick is None:
            raise unreachable(source.exchange.found, error) from error
        return [source.call.decode({})]


def number_in(response: Response, header: str) -> int:
    """A header's number; 0 if the daemon does not send it."""
    return whole(response.headers.get(header, "")) or 0


@dataclass(frozen=True, slots=True)
class FileInfo:
    """The data about a file in the head of an answer."""

    size: int
    offset: int
    etag: str
    where: str

    @classmethod
    def of(cls, response: Response) -> FileInfo:
        """Read it from the headers. Raises HostlerError."""
        headers = response.headers
        size, offset = number_in(response, "content-length") - DIGEST, 0
        if response.status == 206:
            size, offset = _span_of(headers.get("content-range", ""))
        if not 0 <= offset <= size:
            raise unreadable("its head does not say how large the file is")
        return cls(size, offset, headers.get("etag", ""), headers.get("x-hostler-where", ""))


def _span_of(text: str) -> tuple[int, int]:
    """Size of the whole file and begin of the part; None values if the header has neither."""
    span, _, total = text.partition("/")
    size, offset = whole(total), whole(span.removeprefix("bytes ").partition("-")[0])
    return (-1, 0) if size is None or offset is None else (size, offset)


class Tail:
    """Separates a file's bytes from the digest after them."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._held = b""

    def take(self, data: bytes) -> bytes:
        """The part of these bytes that belongs to the file."""
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


def run_events(
    run_id: str, *, after: int | None = None, follow: bool = False, tick: float | None = None
) -> Flow[StreamLine]:
    """A run's stream: each `event` after number `after`, and the `run` on changes.

    With `follow` live, until the run ends or the daemon does. With `tick`, a line with
    neither comes after each that many seconds of silence.
    """
    call = calls.run_events(run_id, after=after, follow=follow)
    return lines(call, follow=follow, tick=tick)


def events(
    *, after: int | None = None, limit: int | None = None, follow: bool = False,
    host: str | None = None, tick: float | None = None,
) -> Flow[StreamLine]:  # fmt: skip
    """Events (of a `host`) after number `after`, else the latest, at most `limit` (1000), each an
    `event`, in order; with `follow` also new ones. The rest as in `run_events`."""
    call = calls.events(after=after, limit=limit, follow=follow, host=host)
    return lines(call, follow=follow, tick=tick)
