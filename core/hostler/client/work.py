"""Operations of several calls: paged lists, uploads of code, waiting for a run's end,
`Client.download`. No I/O."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hostler.base.errors import HostlerError, NoDaemonError
from hostler.base.wire import encode_request
from hostler.client import calls
from hostler.client.exchange import Exchange, ask, encoded
from hostler.client.flow import Blocking, Io, local
from hostler.client.streams import JsonLines
from hostler.model import views
from hostler.quick.socket import decode_answer

if TYPE_CHECKING:
    from pathlib import Path

    from hostler.client.fetch import Fetched, Progress
    from hostler.model.views.alerts import StreamLine
    from hostler.model.views.history import MetricView
    from hostler.model.views.runs import RunView

BLOCK = 262144
"""Bytes to read and send at once."""


def has_snapshot(digest: str) -> Io[bool]:
    """Whether the daemon holds a packed source tree."""
    call = calls.snapshot(digest, "HEAD")
    exchange = Exchange(call)
    try:
        yield from exchange.send(encoded(call))
        status = (yield from exchange.head()).status
    finally:
        exchange.close()
    if status >= 400 and status != 404:
        raise HostlerError(f"the daemon answered with status {status} about a snapshot")
    return status < 400


def put_snapshot(digest: str, path: str | Path) -> Io[None]:
    """Upload a packed source tree (tar) of that SHA-256, unless the daemon has it already."""
    if (yield from has_snapshot(digest)):
        return
    call = calls.snapshot(digest, "PUT")
    file = yield from local(lambda _: io.FileIO(path))
    exchange = Exchange(call)
    try:
        size = os.fstat(file.fileno()).st_size
        kind = "application/x-tar"
        yield from exchange.send(
            encode_request(call.method, call.target, length=size, content_type=kind)
        )
        while not exchange.is_refused and (block := (yield from local(lambda _: file.read(BLOCK)))):
            yield from exchange.send(block)
        response = yield from exchange.head()
        decode_answer(response.status, (yield from exchange.body()))
    finally:
        file.close()
        exchange.close()


def metrics(run_id: str, stage: str, *, points: int | None = None) -> Io[list[MetricView]]:
    """The rows of a stage's metrics file, oldest first; with `points` about that many of each
    metric, evenly chosen."""
    rows: list[MetricView] = []
    after: str | None = None
    while True:
        page = yield from ask(calls.metrics(run_id, stage, points=points, after=after))
        rows += page.metrics
        after = page.next
        if after is None:
            return rows


def files(run_id: str, *, stage: str | None = None) -> Io[views.files.FileList]:
    """The `hostler.files/1` object: all files of a run (or of a stage, also one that runs) that can
    be fetched, in its `files`."""
    page = yield from ask(calls.files(run_id, stage=stage))
    pages = [page]
    while page.next is not None:
        page = yield from ask(calls.files(run_id, stage=stage, after=page.next))
        pages.append(page)
    return views.files.FileList(
        files=tuple(file for page in pages for file in page.files),
        truncated=any(page.truncated for page in pages),
    )


def wait(run_id: str, *, timeout: float | None = None) -> Io[RunView]:
    """The run after its end. Raises TimeoutError after `timeout` seconds."""
    ends = None if timeout is None else time.monotonic() + timeout
    source = JsonLines(calls.run_events(run_id, follow=True))
    run: RunView | None = None
    try:
        yield from source.open()
        while found := (yield from _before(ends, source)):
            for line in found:
                run = line.run or run
    except TimeoutError:
        raise TimeoutError(f"run {run_id} has not ended after {timeout:g} s") from None
    finally:
        source.exchange.close()
    if run is None or run.outcome is None:
        raise NoDaemonError(
            f"the daemon at {source.exchange.found.path} ended before run {run_id} did",
            remedy="Work continues without it; try again when it is back",
        )
    return run


def _before(ends: float | None, source: JsonLines[StreamLine]) -> Io[list[StreamLine]]:
    """The next lines. Raises TimeoutError if none arrive before that time."""
    left = None if ends is None else ends - time.monotonic()
    if left is not None and left <= 0:
        raise TimeoutError
    source.exchange.line.timeout = left
    return (yield from source.read())


def download(
    run_id: str, names: Sequence[str] = (), target: str | Path = ".", *, stage: str | None = None,
    force: bool = False, progress: Progress | None = None,
) -> Io[tuple[Fetched, ...]]:  # fmt: skip
    """Fetch files of a run into a folder: outputs and files of these names or globs, else all.

    It resumes after a lost connection, checks every digest, and replaces no file that is there but
    with `force`. Raises NotFoundError, ConflictError, and what the daemon answers. On an event
    loop a thread does it, in which `progress` is called; cancelled, it stops soon.
    """
    from hostler.client.fetch import Asks, Fetcher
    from hostler.client.fetch_writer import Target

    found = yield from files(run_id, stage=stage)
    stopped = threading.Event()

    def fetch(client: Blocking) -> tuple[Fetched, ...]:
        assert isinstance(client, Asks)
        fetcher = Fetcher(client, run_id, progress, client.revive, stopped.is_set)
        return fetcher.fetch(found.files, names, Target(target), force=force)

    try:
        return (yield from local(fetch))
    finally:
        stopped.set()
