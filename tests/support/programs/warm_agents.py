"""Agents that cost a fork and no start of Python: most of a start is loading.

process = begin("serve", env)  # as `subprocess.Popen` with three pipes, or None

None where the true program is needed: for the first agent of each mode in a test run, and for
variables that Python or the loader of libraries reads at a start. A fork runs the same bootstrap on
the same code, but what loads when is not shown by it: tests of that start the program.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from io import FileIO
from pathlib import Path

from hostler_agent import bundle
from tests.support.programs import fake_nvml, testrun, warm_server
from tests.support.programs.cache import cache
from tests.support.programs.warm import Started, Warm, read_early

_LIBRARIES = "LD_LIBRARY_PATH"
"""The fake NVML is found by it."""
_PYTHON = len(["exec", "python3", "-I", "-S", "-c"])
"""Words of the command before the bootstrap."""


class Forked:
    """A forked agent, with the part of `subprocess.Popen` that tests of agents use."""

    def __init__(self, warm: Warm, env: Mapping[str, str]) -> None:
        (taken, stdin), (stdout, says), (stderr, complains) = os.pipe(), os.pipe(), os.pipe()
        self.stdin, self.stdout, self.stderr = FileIO(stdin, "w"), FileIO(stdout), FileIO(stderr)
        words = shlex.split(bundle.command(bundle.build().hash))[_PYTHON:]
        self._started: Started = warm.start(words, env, Path.cwd(), [taken, says, complains])
        self.pid = self._started.pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        if self.returncode is None and self._started.has_ended():
            self.returncode = self._started.exit_code(time.monotonic() + 1)
            self._started.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Until it has ended. Raises TimeoutExpired."""
        if self.returncode is None:
            try:
                self.returncode = self._started.exit_code(time.monotonic() + (timeout or 600.0))
            except TimeoutError as error:
                raise subprocess.TimeoutExpired("agent", timeout or 600.0) from error
            self._started.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Where it has not ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def begin(mode: str, env: Mapping[str, str]) -> Forked | None:
    """An agent that is to run in that mode with this environment; None: start the program."""
    if testrun.is_first(f"agent-{mode}"):
        return None
    libraries = env.get(_LIBRARIES, "")
    if libraries not in ("", str(fake_nvml.build().parent)):
        return None
    warm = _agents(libraries)
    if warm is None or read_early(env) != read_early(warm.env):
        return None
    return Forked(warm, env)


@functools.cache
def _agents(libraries: str) -> Warm | None:
    code = cache("hostler-test-agents") / bundle.build().hash
    if not code.is_dir():
        return None
    env = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    if libraries:
        env[_LIBRARIES] = libraries
    name = f"{warm_server.AGENTS}{'-nvml' if libraries else ''}"
    return Warm(warm_server.AGENTS, "-I", "-S", name=name, folder=code, env=env)
