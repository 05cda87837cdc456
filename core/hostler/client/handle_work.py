"""What a run's handle does (wait, logs, metrics, fetch), and how long it waits for an absent
daemon. No I/O."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hostler.base.errors import NoDaemonError, NotFoundError
from hostler.base.text import MOST_OF_LINE, Lines
from hostler.client import calls, work
from hostler.client.call import CHANGE_S
from hostler.client.exchange import Exchange, ask, opened
from hostler.client.flow import Emit, Flow, Io, Pause, Revive
from hostler.client.streams import JsonLines

if TYPE_CHECKING:
    from hostler.client.fetch import Fetched, Progress
    from hostler.model.views.alerts import StreamLine
    from hostler.model.views.history import MetricView
    from hostler.model.views.runs import RunView, StageView

PATIENCE_S = 60.0
"""Seconds to wait for a daemon that went away: it may be restarting."""
PAUSE_S = 0.3
_FINAL = frozenset({"succeeded", "failed", "cancelled", "skipped"})
_QUIET = frozenset({"starting"})
"""Phases of attempts that have no output yet."""


@dataclass(frozen=True, slots=True)
class Curve:
    """All numbers of one metric, oldest first."""

    steps: tuple[int | None, ...]
    """The step that the stage wrote with each value."""
    times: tuple[float, ...]
    """Seconds since the epoch."""
    values: tuple[float, ...]

    @property
    def last(self) -> float:
        """The newest number."""
        return self.values[-1]


class Metrics(Mapping[str, float]):
    """The newest number of each metric, by name; `curves` has all numbers."""

    def __init__(self, curves: Mapping[str, Curve]) -> None:
        self.curves = curves

    def __getitem__(self, name: str) -> float:
        return self.curves[name].last

    def __iter__(self) -> Iterator[str]:
        return iter(self.curves)

    def __len__(self) -> int:
        return len(self.curves)

    def __repr__(self) -> str:
        return f"Metrics({dict(self)!r})"


class Absence:
    """How long the daemon has been away."""

    def __init__(self) -> None:
        self._since: float | None = None

    def end(self) -> None:
        """The daemon has answered."""
        self._since = None

    def last(self, error: NoDaemonError) -> Io[None]:
        """Wait a moment. Raises the error if the daemon stays away for too long."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > PATIENCE_S:
            raise error
        yield Revive()
        yield Pause(PAUSE_S)


def wait(run_id: str, *, timeout: float | None = None) -> Io[RunView]:
    """The run after its end, even if the daemon is restarted meanwhile. Raises TimeoutError after
    `timeout` seconds."""
    ends = None if timeout is None else time.monotonic() + timeout
    absence = Absence()
    while True:
        begun = time.monotonic()
        try:
            return (yield from work.wait(run_id, timeout=ends and max(0.0, ends - begun)))
        except TimeoutError:
            raise TimeoutError(f"run {run_id} has not ended after {timeout:g} s") from None
        except NoDaemonError as error:
            if time.monotonic() - begun > PATIENCE_S:
                absence.end()
            yield from absence.last(error)


def status(run_id: str) -> Io[str]:
    """ "waiting", "running", "succeeded", "failed" or "cancelled"."""
    return (yield from ask(calls.show(run_id))).state


def fetch(
    run_id: str, *names: str, to: str | Path = ".", stage: str | None = None, force: bool = False,
    progress: Progress | None = None,
) -> Io[tuple[Fetched, ...]]:  # fmt: skip
    """Fetch outputs and files of these names or globs, else all, into a folder; see `download`."""
    return work.download(run_id, names, to, stage=stage, force=force, progress=progress)


def metrics(run_id: str, stage: str | None = None, *, points: int | None = None) -> Io[Metrics]:
    """The metrics of the run; with `points` about that many numbers of each. If the run has
    several stages, each metric is called "STAGE/NAME", unless a stage is named."""
    if stage is not None:
        rows = yield from work.metrics(run_id, stage, points=points)
        return Metrics(curves(rows))
    stages = (yield from ask(calls.show(run_id))).stages
    found: dict[str, Curve] = {}
    for one in stages:
        if one.attempt is not None:
            rows = yield from work.metrics(run_id, one.name, points=points)
            prefix = f"{one.name}/" if len(stages) > 1 else ""
            found |= {prefix + name: curve for name, curve in curves(rows).items()}
    return Metrics(found)


def curves(rows: Iterable[MetricView]) -> dict[str, Curve]:
    """Rows of metrics by their name. A number that is not finite is NaN."""
    sorted_rows: dict[str, list[MetricView]] = {}
    for row in rows:
        sorted_rows.setdefault(row.name, []).append(row)
    return {
        name: Curve(
            tuple(row.step for row in found),
            tuple(row.at for row in found),
            tuple(math.nan if row.value is None else row.value for row in found),
        )
        for name, found in sorted_rows.items()
    }


def logs(run_id: str, stage: str | None = None, *, follow: bool = True) -> Flow[str]:
    """The output of the stages as lines: of the named stage (or all its cells), else of one stage
    after the other. With `follow` until they end, through retries and restarts of the daemon, and
    including pending stages. Bytes that are not UTF-8 are replaced."""
    run = yield from ask(calls.show(run_id))
    names = _named(run, stage)
    updates = Updates(run_id, run)
    try:
        for name in names:
            yield from stage_lines(updates, name, follow=follow)
    finally:
        updates.close()


def stage_lines(updates: Updates, name: str, *, follow: bool) -> Flow[str]:
    """The lines of all attempts of a stage."""
    told: set[int] = set()
    while True:
        for number in _numbers(updates.run, name):
            if number not in told:
                told.add(number)
                yield from attempt_lines(updates.run.run_id, name, number, follow=follow)
        if not follow or _is_over(updates.run, name):
            return
        yield from updates.next()


def attempt_lines(run_id: str, stage: str, number: int, *, follow: bool) -> Flow[str]:
    """The lines of one attempt; after a restart of the daemon, it continues where it was."""
    absence, offset, cut = Absence(), 0, Lines()
    while True:
        exchange: Exchange | None = None
        try:
            call = calls.logs(run_id, stage, attempt=number, offset=offset, follow=follow)
            exchange, _ = yield from opened(call)
            exchange.line.timeout = None if follow else CHANGE_S
            while part := (yield from exchange.read()):
                absence.end()
                offset += len(part)
                lines = cut.feed(part)
                if cut.waiting > MOST_OF_LINE:
                    lines.append(cut.rest())
                for line in lines:
                    yield Emit(line.removesuffix(b"\r").decode("utf-8", "replace"))
            break
        except NoDaemonError as error:
            yield from absence.last(error)
        finally:
            if exchange is not None:
                exchange.close()
    if rest := cut.rest():
        yield Emit(rest.decode("utf-8", "replace"))


class Updates:
    """A run as it changes, through restarts of the daemon."""

    def __init__(self, run_id: str, run: RunView) -> None:
        self.run = run
        self._run_id = run_id
        self._source: JsonLines[StreamLine] | None = None
        self._absence = Absence()

    def next(self) -> Io[None]:
        """Wait until the run differs from `run`."""
        before = self.run
        while self.run == before:
            try:
                yield from self._read()
            except NoDaemonError as error:
                self.close()
                yield from self._absence.last(error)

    def close(self) -> None:
        """Stop waiting; may be called twice."""
        if self._source is not None:
            self._source.exchange.close()
        self._source = None

    def _read(self) -> Io[None]:
        if self._source is None:
            self._source = JsonLines(calls.run_events(self._run_id, follow=True))
            yield from self._source.open()
            self._source.exchange.line.timeout = None
        lines = yield from self._source.read()
        if not lines:
            self.close()
            self.run = yield from ask(calls.show(self._run_id))
            yield Pause(PAUSE_S)
            return
        self._absence.end()
        for line in lines:
            self.run = line.run or self.run


def _named(run: RunView, stage: str | None) -> list[str]:
    """The stages of that name, or all. Raises NotFoundError."""
    found = [one.name for one in run.stages if stage in (None, one.name, one.base)]
    if not found:
        names = ", ".join(dict.fromkeys(one.base for one in run.stages))
        raise NotFoundError(f"run {run.run_id} has no stage {stage!r}", remedy=f"It has: {names}")
    return found


def _stage(run: RunView, name: str) -> StageView | None:
    return next((one for one in run.stages if one.name == name), None)


def _numbers(run: RunView, name: str) -> list[int]:
    """Attempts of a stage that may have output."""
    stage = _stage(run, name)
    if stage is None:
        return []
    tries = stage.attempts or [*filter(None, [stage.attempt])]
    return [one.number for one in tries if one.phase not in _QUIET]


def _is_over(run: RunView, name: str) -> bool:
    stage = _stage(run, name)
    return run.outcome is not None or stage is None or stage.status in _FINAL
