"""One run of tests in a forked process, within limits of time."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from tests.mutants.graft import Place


@dataclass(frozen=True)
class Limits:
    """Seconds that a run may take before it counts as noticed: a change can make a loop endless.

    Processor time decides, since other work may slow the machine down; the others are generous.
    """

    processor: float = 900
    wall: float = 3600


@dataclass(frozen=True)
class Result:
    """What a run of the tests came to. Without a failure, `noticed_by` is empty."""

    noticed_by: str
    durations: Mapping[str, float] = field(default_factory=dict)
    """Test -> seconds."""
    calls: Mapping[str, frozenset[Place]] = field(default_factory=dict)
    """Test -> the functions of the room that it called, where that was watched."""
    processor: float = 0
    """Seconds."""


class TrialError(Exception):
    """The machinery failed; that says nothing about the tests."""


Said = tuple[str, Mapping[str, float], Mapping[str, frozenset[Place]]]
"""The first failure, durations and calls."""


class Trial:
    """A run in progress."""

    def __init__(self, body: Callable[[], Said], limits: Limits, log: Path) -> None:
        """What `body` prints, with all programs that it starts, goes to `log`."""
        context = multiprocessing.get_context("fork")
        self._receive, send = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(body, limits, log, send), daemon=True)
        self._process.start()
        self._limits, self._log = limits, log
        self._ends = time.monotonic() + limits.wall
        send.close()

    @property
    def signs(self) -> tuple[Connection, int]:
        """One of them is ready when it has a result, or has ended without."""
        return self._receive, self._process.sentinel

    def left(self) -> float:
        """Seconds that it still has."""
        return max(0.0, self._ends - time.monotonic())

    def result(self) -> Result:
        """End it, and say how it went."""
        in_time = self.left() > 0
        said = self._said()
        self.end()
        if said:
            return said
        if not in_time:
            return Result(f"the time limit ({self._limits.wall:.0f} s)")
        code = self._process.exitcode
        if code is None or code >= 0:
            raise TrialError(f"a run ended with {code}; what it printed: {self._log.read_text()}")
        return Result(f"the limit of processor time ({signal.Signals(-code).name})")

    def end(self) -> None:
        """With all that its tests started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.join()

    def _said(self) -> Result | None:
        with self._receive, suppress(EOFError):
            if self._receive.poll():
                return Result(*self._receive.recv())
        return None


def _run(body: Callable[[], Said], limits: Limits, log: Path, send: Connection) -> None:
    os.setsid()
    _print_to(log)
    seconds = int(time.process_time() + limits.processor) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    send.send((*body(), time.process_time()))
    sys.stdout.flush()
    os._exit(0)


def _print_to(log: Path) -> None:
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, number in ((null, 0), (target, 1), (target, 2)):
        os.dup2(source, number)
