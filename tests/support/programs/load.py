"""Sends requests at a steady rate, whatever becomes of them (open loop), and counts the answers. A
process of its own: it must not wait for what it measures.

    with begun(port, "/web/", rate=300, streams=2) as load:
        ...
    assert load.report.failed == 0

An answer is good if it has status 200 and a body like "version 2 early 0 whole"
(`tests.support.programs.replica`). Streams are read to their ends, one after the other.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

MOST = 200_000
"""Requests, after which it ends by itself."""
IN_FLIGHT = 1000
ERRORS = 10
"""Of so many failures it says what and when."""
ANSWER_S = 30.0


@dataclass
class Report:
    """What became of the requests."""

    answered: int = 0
    failed: int = 0
    errors: list[str] = field(default_factory=list)
    versions: Mapping[str, int] = field(default_factory=dict)
    """Release, by what its replicas say -> answers."""
    early: int = 0
    """Requests that replicas got before they had a good answer to a check."""
    again: int = 0
    """Sent once more, because a connection that was kept had just been closed."""
    streams: int = 0
    """Read whole."""
    samples: list[tuple[float, float]] = field(default_factory=list)
    """When a request was due, and the milliseconds from then to its answer."""
    bad: list[float] = field(default_factory=list)
    """When requests were due that failed."""
    first: Mapping[str, float] = field(default_factory=dict)
    """Release -> when it gave its first answer."""

    def percentile(self, part: float, since: float = 0.0, until: float = float("inf")) -> float:
        """Milliseconds within which this part of the answers came, of requests due then."""
        found = sorted(ms for at, ms in self.samples if since <= at < until)
        return found[min(len(found) - 1, int(part * len(found)))] if found else float("inf")

    def said(self) -> str:
        """In one line."""
        p50, p95, p99 = (self.percentile(part) for part in (0.5, 0.95, 0.99))
        return (
            f"{self.answered} answered, {self.failed} failed, {self.streams} streams whole; "
            f"p50 {p50:.1f} p95 {p95:.1f} p99 {p99:.1f} ms; by release {dict(self.versions)}"
            + "".join(f"\n  {error}" for error in self.errors)
        )


class Load:
    """A generator that runs. After its end `report` says what became of the requests."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.report = Report()

    def end(self) -> Report:
        """Send nothing more, wait for what is on its way, and read the report."""
        if self._process.poll() is None:
            said, _ = self._process.communicate("end\n", timeout=2 * ANSWER_S + 60)
            self.report = Report(**json.loads(said))
        return self.report


@contextmanager
def begun(
    port: int, path: str, *, rate: float = 300.0, streams: int = 0, token: str = ""
) -> Iterator[Load]:
    """A generator that sends until the end of the block, or until it is told to `end`."""
    words = [sys.executable, "-m", "tests.support.programs.load", str(port), path, str(rate)]
    with subprocess.Popen(
        [*words, str(streams), token], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            load = Load(process)
            yield load
            load.end()
        finally:
            process.kill()


class _Connection(asyncio.Protocol):
    """One connection: a request at a time."""

    def __init__(self) -> None:
        self._data = b""
        self._answer: asyncio.Future[tuple[int, str]] | None = None
        self._transport: asyncio.Transport | None = None
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, str]]:
        """Status and body; an OSError where the connection is closed before."""
        assert self._transport is not None
        self._data, self._answer = b"", asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, between, body = self._data.partition(b"\r\n\r\n")
        if not between or self._answer is None or self._answer.done():
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        size = int(fields.get(b"content-length", b"0"))
        if len(body) >= size:
            if fields.get(b"connection") == b"close":
                self.close()
            self._answer.set_result((int(head.split(b" ")[1]), body.decode("latin-1")))

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            said = "in the middle of an answer" if self._data else "before an answer"
            self._answer.set_exception(ConnectionResetError(f"closed {said}"))

    @property
    def is_silent(self) -> bool:
        """Nothing of an answer came."""
        return not self._data

    def close(self) -> None:
        """Use it no more."""
        self.is_open = False
        if self._transport is not None:
            self._transport.close()


class Generator:
    """Sends, in the process of its own."""

    def __init__(self, port: int, path: str, rate: float, token: str) -> None:
        self._port, self._path, self._rate = port, path, rate
        self._headers = "Host: x\r\n" + (f"Authorization: Bearer {token}\r\n" if token else "")
        self._free: list[_Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._versions: Counter[str] = Counter()
        self._first: dict[str, float] = {}
        self.report = Report()
        self.over = asyncio.Event()

    async def send(self) -> None:
        """Requests, each at its time, until told to stop."""
        begun, number = time.time(), 0
        while not self.over.is_set() and number < MOST:
            due = begun + number / self._rate
            if (rest := due - time.time()) > 0:
                await asyncio.sleep(rest)
                continue
            number += 1
            if len(self._tasks) >= IN_FLIGHT:
                self._fail(due, f"{IN_FLIGHT} requests wait for answers")
                continue
            self._keep(asyncio.create_task(self._one(due)))
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def stream(self) -> None:
        """Streams, one after the other."""
        while not self.over.is_set():
            due = time.time()
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                head = f"GET {self._path}stream HTTP/1.1\r\nConnection: close\r\n"
                writer.write(f"{head}{self._headers}\r\n".encode())
                said = await reader.read(-1)
                writer.close()
                if said.startswith(b"HTTP/1.1 200") and b" whole" in said[-60:]:
                    self.report.streams += 1
                    continue
                self._fail(due, f"a stream was cut after {time.time() - due:.1f} s: {said[-60:]!r}")
            except OSError as error:
                self._fail(due, f"a stream: {error!r}")
            await asyncio.sleep(0.1)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _one(self, due: float) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                status, body = await self._ask()
        except TimeoutError:
            self._fail(due, f"no answer within {ANSWER_S:g} s")
        except OSError as error:
            self._fail(due, repr(error))
        else:
            self._count(due, status, body)

    async def _ask(self) -> tuple[int, str]:
        """Over a connection that is kept, where there is one. If that was closed meanwhile, once
        more over a new one, as browsers do."""
        connection = self._free.pop() if self._free else None
        is_kept = connection is not None and connection.is_open
        if connection is None or not is_kept:
            connection = await self._connect()
        request = f"GET {self._path} HTTP/1.1\r\n{self._headers}\r\n".encode()
        try:
            answer = await connection.ask(request)
        except OSError:
            if not (is_kept and connection.is_silent):
                raise
            self.report.again += 1
            connection = await self._connect()
            answer = await connection.ask(request)
        if connection.is_open:
            self._free.append(connection)
        return answer

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
        return connection

    def _count(self, due: float, status: int, body: str) -> None:
        words = body.split()
        if status != 200 or words[-1:] != ["whole"]:
            self._fail(due, f"{status} {body[:100]!r}")
            return
        self.report.answered += 1
        self._versions[words[1]] += 1
        self._first.setdefault(words[1], time.time())
        self.report.early += int(words[3])
        self.report.samples.append((round(due, 4), round((time.time() - due) * 1e3, 2)))

    def _fail(self, due: float, why: str) -> None:
        self.report.failed += 1
        self.report.bad.append(due)
        if len(self.report.errors) < ERRORS:
            self.report.errors.append(f"{time.strftime('%T', time.localtime(due))} {why}")

    def said(self) -> dict[str, Any]:
        """The report as JSON."""
        self.report.versions, self.report.first = dict(self._versions), self._first
        return asdict(self.report)


async def _run(port: int, path: str, rate: float, streams: int, token: str) -> None:
    generator = Generator(port, path, rate, token)
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), generator.over.set)  # a line, or the end of who began it
    await asyncio.gather(generator.send(), *(generator.stream() for _ in range(streams)))
    print(json.dumps(generator.said()), flush=True)


if __name__ == "__main__":
    _, its_port, its_path, its_rate, its_streams, its_token = sys.argv
    asyncio.run(_run(int(its_port), its_path, float(its_rate), int(its_streams), its_token))
