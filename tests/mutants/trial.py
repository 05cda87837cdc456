"""One run of a room's tests, in a forked process on a copy of the tree.

The parent has imported the libraries that the tests use (`preload`), so that a run only imports
the code under test. The parent itself never imports that code, and has one thread.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import pytest_asyncio.plugin
import pytest_timeout

from tests.mutants.recorder import Recorder

ROOTS = ("core", "tui", "agents", ".")
_OWN = ("hostler", "hostler_agent", "hostler_tui", "tests")


@dataclass(frozen=True)
class Limits:
    """Seconds that a run may take before it counts as noticed: a change can make a loop endless.

    Processor time decides, since other work may slow the machine down; the others are generous.
    """

    processor: float = 900
    wall: float = 900
    test: float = 120


@dataclass(frozen=True)
class Result:
    """What a run of the tests came to. Without a failure, `noticed_by` is empty."""

    noticed_by: str
    durations: Mapping[str, float] = field(default_factory=dict)
    """Test -> seconds."""
    modules: tuple[str, ...] = ()
    """What was imported besides the code under test."""
    processor: float = 0
    """Seconds."""


@dataclass(frozen=True)
class Task:
    """Which tests run on which tree. The first run of all knows no durations yet; it leaves
    bytecode, which the others use."""

    tree: Path
    tests: tuple[str, ...]
    limits: Limits = Limits()
    durations: Mapping[str, float] = field(default_factory=dict)
    """Of the first run: the quickest tests go first."""


class TrialError(Exception):
    """The machinery failed; that says nothing about the tests."""


class Trial:
    """A run in progress."""

    def __init__(self, task: Task) -> None:
        context = multiprocessing.get_context("fork")
        self._receive, send = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(task, send))
        self._process.start()
        self._limits = task.limits
        self._log = log_of(task.tree)
        self._ends = time.monotonic() + task.limits.wall
        send.close()

    @property
    def sentinel(self) -> int:
        """Ready when the process has ended."""
        return self._process.sentinel

    def left(self) -> float:
        """Seconds that it still has."""
        return max(0.0, self._ends - time.monotonic())

    def result(self) -> Result:
        """End it, with all that its tests started, and say how it went."""
        in_time = self.left() > 0
        said = self._said()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.join()
        if said:
            return said
        if not in_time:
            return Result(f"the time limit ({self._limits.wall:.0f} s)")
        code = self._process.exitcode
        if code is None or code >= 0:
            raise TrialError(f"a run ended with {code}; what it printed: {self._log.read_text()}")
        return Result(f"the limit of processor time ({signal.Signals(-code).name})")

    def _said(self) -> Result | None:
        with self._receive, suppress(EOFError):
            if self._receive.poll():
                return Result(*self._receive.recv())
        return None


def log_of(tree: Path) -> Path:
    """What the tests on this tree print goes there."""
    return tree.with_name(f"{tree.name}.log")


def preload(modules: Iterable[str]) -> None:
    """Import libraries, for all runs that follow."""
    for name in modules:
        with suppress(Exception):
            importlib.import_module(name)


def _run(task: Task, send: Connection) -> None:
    os.setsid()
    _write_beside(task.tree)
    _limit(task.limits)
    _stand_in(task.tree, leave_bytecode=not task.durations)
    recorder = Recorder(task.durations)
    options = ["-x", "-q", "-p", "no:cacheprovider", f"--timeout={task.limits.test:.0f}"]
    plugins = [recorder, pytest_asyncio.plugin, pytest_timeout]
    code = pytest.main([*options, *task.tests], plugins=plugins)
    failed = recorder.failed or ("" if code == 0 else f"pytest ended with {code:d}")
    send.send((failed, recorder.durations, _libraries(), time.process_time()))
    sys.stdout.flush()
    os._exit(0)


def _write_beside(tree: Path) -> None:
    log = os.open(log_of(tree), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)


def _limit(limits: Limits) -> None:
    used = time.process_time()
    seconds = int(used + limits.processor) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


def _stand_in(tree: Path, *, leave_bytecode: bool) -> None:
    """Import from this tree, here and in programs that tests start."""
    for name in list(sys.modules):
        if name.partition(".")[0] in _OWN:
            del sys.modules[name]
    here = Path.cwd()
    others = {str(here / root) for root in ROOTS} | {""}
    roots = [str(tree / root) for root in ROOTS]
    sys.path[:] = [*roots, *(entry for entry in sys.path if entry not in others)]
    os.chdir(tree)
    os.environ |= {
        "PYTHONPATH": os.pathsep.join(roots),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "HOSTLER_LAB": "off",
    }
    if not leave_bytecode:
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


def _libraries() -> tuple[str, ...]:
    return tuple(name for name in sys.modules if name.partition(".")[0] not in (*_OWN, "__main__"))
