"""Numbers that a stage writes to `$HOSTLER_METRICS`, one JSON object a line.

    {"step": 100, "loss": 0.31, "accuracy": 0.91}

`step` (a whole number) and `t` (seconds since the epoch) are optional; every other key with a
number is a metric. The file is read while the stage runs and once after it ended: from a process
by the agent, from a container by Docker's archive call of this one file, which costs dockerd a few
milliseconds and needs no session. What is no such line is dropped and counted.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hostler.errors import AgentError, EngineError, InputError
from hostler.model.records import MetricPoint
from hostler.ports import HostLink
from hostler.runtimes.contract import METRICS
from hostler.runtimes.docker.http import request
from hostler.runtimes.docker.options import WORK
from hostler.units import MIB

MAX_FILE = 32 * MIB
MAX_POINTS = 500_000
MAX_NAMES = 1000
MAX_LINE = 64 * 1024
MAX_NAME = 200
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a metrics file says."""

    points: tuple[MetricPoint, ...]
    """In the order of the file."""
    dropped: int
    """Lines and values that are not numbers of the form above, or over a limit."""
    example: str = ""
    """The beginning of the first line that was dropped."""

    def sentence(self) -> str:
        """What was dropped, for people."""
        first = f", the first {self.example!r}" if self.example else ""
        return (
            f'{self.dropped} left out{first}; a line should look like {{"step": 100, "loss": 0.31}}'
        )


def parse_metrics(data: bytes, at: float) -> Metrics:
    """Read a whole metrics file; `at` is the time of points that carry none.

    A last line without its end counts when it is whole already.
    """
    points: list[MetricPoint] = []
    names: set[str] = set()
    dropped, example = 0, ""
    *lines, last = data.split(b"\n")
    for line in [*lines, last]:
        row = _row(line)
        if row is None:
            if line.strip() and line is not last:
                dropped += 1
                example = example or line[:_SHOWN].decode(errors="replace")
            continue
        found, bad = _points(row, at)
        for point in found:
            known = point.name in names or len(names) < MAX_NAMES
            if not known or len(points) >= MAX_POINTS:
                bad += 1
                continue
            names.add(point.name)
            points.append(point)
        if bad:
            dropped += bad
            example = example or line[:_SHOWN].decode(errors="replace")
    return Metrics(tuple(points), dropped, example)


async def read_metrics(link: HostLink, attempt_id: str, runtime: str, ref: str) -> Metrics:
    """All that a stage has written so far; no points where it wrote no such file.

    Raises Unreachable when cut, EngineError where they cannot be read.
    """
    if runtime == "docker":
        data, at = await _from_container(link, ref)
    else:
        data, at = await _from_process(link, attempt_id)
    return parse_metrics(data, at)


def last_values(points: Iterable[MetricPoint]) -> dict[str, float]:
    """The last value of each metric."""
    return {point.name: point.value for point in points}


async def _from_container(link: HostLink, ref: str) -> tuple[bytes, float]:
    query = {"path": f"{WORK}/{METRICS}"}
    packed = bytearray()
    try:
        async with request(link, "GET", f"/containers/{ref}/archive", query) as response:
            async for data in response.body():
                packed += data
                if len(packed) > MAX_FILE:
                    break
    except EngineError as error:
        if error.status == 404:
            return b"", 0.0
        raise
    return _first_file(bytes(packed))


def _first_file(packed: bytes) -> tuple[bytes, float]:
    """Content and time of the one file in a tar, or of as much of it as there is."""
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as tar:
            entry = tar.next()
            if entry is None or not entry.isreg():
                return b"", 0.0
            end = entry.offset_data + entry.size
            return packed[entry.offset_data : end], float(entry.mtime)
    except (tarfile.TarError, ValueError, EOFError):
        return b"", 0.0


async def _from_process(link: HostLink, attempt_id: str) -> tuple[bytes, float]:
    data, at, offset = bytearray(), 0.0, 0
    while len(data) < MAX_FILE:
        try:
            answer = await link.call("job.metrics", {"attempt_id": attempt_id, "offset": offset})
        except (AgentError, InputError) as error:
            raise EngineError(link.host, error.message, remedy=error.remedy) from error
        at = answer["mtime"] or at
        if not answer["text"] or answer["next"] <= offset:
            break
        data += answer["text"].encode()
        offset = answer["next"]
    return bytes(data), at


def _row(line: bytes) -> dict[str, Any] | None:
    if len(line) > MAX_LINE:
        return None
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _points(row: dict[str, Any], at: float) -> tuple[list[MetricPoint], int]:
    step, time = row.pop("step", None), _number(row.pop("t", None))
    if isinstance(step, bool) or not isinstance(step, int) or abs(step) >= 2**63:
        step = None
    when = time if time is not None and 0 < time < 1e11 else at
    found, bad = [], 0
    for name, value in row.items():
        number = _number(value)
        if number is None or not name or len(name) > MAX_NAME:
            bad += 1
            continue
        found.append(MetricPoint(name, number, when, step))
    return found, bad


def _number(value: object) -> float | None:
    """A number as float, NaN and infinity too: a loss that became NaN is worth seeing."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
