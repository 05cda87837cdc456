"""Reads the metrics that a stage writes to `$HOSTLER_METRICS`: the form of a line, which lines are
dropped, most points, names and bytes of an attempt.

    {"step": 100, "loss": 0.31, "val": {"accuracy": 0.91}}

`step` (a whole number) and `t` (seconds since the epoch) are optional; every other key with a
number is a metric, and one in an object is named with it: `val/accuracy`. The agent reads the file
while the stage runs, each time from where it stopped, and once more after the end. Invalid lines
are dropped and counted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hostler.base.errors import AgentError, EngineError, InputError
from hostler.base.units import MIB
from hostler.model.records import MetricPoint
from hostler.ports import HostLink
from hostler_agent.json_values import Json, Message

MAX_FILE = 32 * MIB
MAX_POINTS = 500_000
MAX_NAMES = 1000
MAX_LINE = 64 * 1024
MAX_NAME = 200
MAX_DEPTH = 8
_SHOWN = 80
_TIMEOUT_S = 20.0

Save = Callable[[Sequence[MetricPoint], int], Awaitable[None]]
"""Called with points, and the first one's number among all points of the file."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """The content of a piece of a metrics file."""

    points: tuple[MetricPoint, ...]
    """In the order of the file."""
    dropped: int = 0
    """Lines and values that are not numbers of the form above, or over a limit."""
    example: str = ""
    """The beginning of the first line that was dropped."""


class _Piece(NamedTuple):
    """A piece of the file, as the agent answers."""

    text: str
    next: int
    """Where the next one begins."""
    mtime: float
    size: int
    """Of the whole file."""
    mark: str = ""
    """The agent's mark, to send back."""


class MetricsReader:
    """Reads one attempt's file and continues where it stopped. Only the last values stay in
    memory."""

    def __init__(
        self, attempt_id: str, runtime: str, ref: str, mask: Callable[[str], str] = str
    ) -> None:
        """`mask`: removes secrets from the text that was read."""
        self._attempt_id = attempt_id
        self._mask = mask
        self._verb = "container.metrics" if runtime == "docker" else "job.metrics"
        self._ref = ref
        self._reading = asyncio.Lock()
        self._begin()

    def _begin(self) -> None:
        self._offset = 0
        self.count = 0
        """Points so far."""
        self.last: dict[str, float] = {}
        """The last value of each metric."""
        self.dropped, self._example = 0, ""
        self._in_line = False
        """The last piece ended within a line that is too long."""
        self._mark = ""
        """By this the agent recognises the file."""

    def sentence(self) -> str:
        """The dropped lines, for people."""
        first = f", the first {self._example!r}" if self._example else ""
        return (
            f'{self.dropped} left out{first}; a line should look like {{"step": 100, "loss": 0.31}}'
        )

    async def read(
        self, link: HostLink, save: Save, *, pieces: int | None = None, final: bool = False
    ) -> bool:
        """Continue reading, at most so many pieces; whether there was new data. `final`: nothing
        more will be written, so that a last line without an end counts too.

        Raises Unreachable when cut, EngineError if it cannot be read, and all errors of `save`:
        unsaved data is read again.
        """
        async with self._reading:
            return await self._read(link, save, pieces, final)

    async def _read(self, link: HostLink, save: Save, pieces: int | None, final: bool) -> bool:
        some = anew = False
        while (pieces is None or pieces > 0) and self._has_room():
            answer = await self._ask(link, final)
            if answer.next < self._offset and not anew:
                self._begin()  # it is another file by now
                anew = True
                continue
            if answer.next <= self._offset:
                self._mark = answer.mark
                break
            await self._take(answer, save, final)
            some = True
            pieces = None if pieces is None else pieces - 1
        return some

    def _has_room(self) -> bool:
        if self._offset < MAX_FILE and self.count < MAX_POINTS:
            return True
        self.dropped = self.dropped or 1  # how many more there are is not looked at
        return False

    async def _ask(self, link: HostLink, final: bool) -> _Piece:
        asked = {
            "attempt_id": self._attempt_id, "ref": self._ref, "offset": self._offset,
            "rest": final, "within": self._in_line, "mark": self._mark,
        }  # fmt: skip
        try:
            return _Piece(**await link.call(self._verb, asked, _TIMEOUT_S))
        except (AgentError, InputError) as error:
            raise EngineError(link.host, error.message, remedy=error.remedy) from error

    async def _take(self, answer: _Piece, save: Save, final: bool) -> None:
        """Parse and save a piece. It does not count if it could not be saved."""
        text = self._mask(answer.text)
        if self._in_line:
            _, _, text = text.partition("\n")
        ended = final and answer.next >= answer.size
        whole = answer.text.endswith("\n") or ended
        found = await asyncio.to_thread(
            parse_metrics, text, answer.mtime, frozenset(self.last), MAX_POINTS - self.count,
            whole,
        )  # fmt: skip
        if found.points:
            await save(found.points, self.count)
        self.count += len(found.points)
        self.last.update((point.name, point.value) for point in found.points)
        self._drop(found.dropped, found.example)
        self._offset, self._in_line = answer.next, not whole
        self._mark = answer.mark

    def _drop(self, count: int, example: str) -> None:
        self.dropped += count
        self._example = self._example or example


def parse_metrics(
    text: str,
    at: float,
    known: Collection[str] = (),
    room: int = MAX_POINTS,
    whole: bool = True,
) -> Metrics:
    """Read lines of a metrics file; `at` is the time of points without a time. `known`: earlier
    names; `room`: how many more points are allowed; `whole`: the last line is complete."""
    points: list[MetricPoint] = []
    names = set(known)
    dropped, example = 0, ""
    *lines, last = text.split("\n")
    for line in [*lines, last]:
        row = _row(line)
        if row is None:
            # The last line may have been cut off by the end of its stage: that is no mistake.
            torn = line is last and whole
            found, bad = list[MetricPoint](), int(bool(line.strip()) and not torn)
        else:
            found, bad = _points(row, at)
        for point in found:
            fits = point.name in names or len(names) < MAX_NAMES
            if not fits or len(points) >= room:
                bad += 1
                continue
            names.add(point.name)
            points.append(point)
        if bad:
            dropped += bad
            example = example or line[:_SHOWN]
    return Metrics(tuple(points), dropped, example)


def _row(line: str) -> Message | None:
    if len(line) > MAX_LINE:
        return None
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _points(row: Message, at: float) -> tuple[list[MetricPoint], int]:
    step, time = row.pop("step", None), _number(row.pop("t", None))
    if isinstance(step, bool) or not isinstance(step, int) or abs(step) >= 2**63:
        step = None
    when = time if time is not None and 0 < time < 1e11 else at
    found, bad = [], 0
    for name, value in _flat(row, "", 0):
        number = _number(value)
        if number is None or not name or len(name) > MAX_NAME:
            bad += 1
            continue
        found.append(MetricPoint(name, number, when, step))
    return found, bad


def _flat(row: Message, prefix: str, depth: int) -> Iterator[tuple[str, Json]]:
    """Names and values, those of inner objects by the path to them."""
    for name, value in row.items():
        if isinstance(value, dict) and value and depth < MAX_DEPTH:
            yield from _flat(value, f"{prefix}{name}/", depth + 1)
        else:
            yield f"{prefix}{name}", value


def _number(value: object) -> float | None:
    """A number as float, NaN and infinity too: a loss that became NaN is worth seeing."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
