"""Agents that cost a fork and no start of Python: most of a start is loading.

process = begin("serve", env)  # as `subprocess.Popen` with three pipes, or None

None where the true program is needed: for the first agent of each mode in a test run, and for
variables that Python or the loader of libraries reads at a start. A fork runs the same bootstrap on
the same code, but what loads when is not shown by it: tests of that start the program.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
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
_KEPT = ("PATH", "LANG", "LC_")
_IGNORED = ("PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
"""What `python -I` ignores, and whoever runs the tests may have set."""


class Forked:
    """A forked agent, with the part of `subprocess.Popen` that tests of agents use."""

    def __init__(self, started: Started) -> None:
        self._started = started
        self.pid = started.pid
        self._code: int | None = None

    @property
    def returncode(self) -> int | None:
        """Its exit code, once it has ended."""
        return self.poll()

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        if self._code is None and self._started.has_ended():
            self._code = self._started.exit_code(time.monotonic() + 1)
            self._started.close()
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Until it has ended. Raises TimeoutExpired."""
        if self._code is None:
            try:
                self._code = self._started.exit_code(time.monotonic() + (timeout or 600.0))
            except TimeoutError as error:
                raise subprocess.TimeoutExpired("agent", timeout or 600.0) from error
            self._started.close()
        return self._code

    def send_signal(self, number: int) -> None:
        """Where it has not ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Piped(Forked):
    """One with three pipes."""

    def __init__(self, warm: Warm, env: Mapping[str, str]) -> None:
        (taken, stdin), (stdout, says), (stderr, complains) = os.pipe(), os.pipe(), os.pipe()
        self.stdin, self.stdout, self.stderr = FileIO(stdin, "w"), FileIO(stdout), FileIO(stderr)
        super().__init__(start(warm, env, Path.cwd(), [taken, says, complains]))


def begin(mode: str, env: Mapping[str, str]) -> Piped | None:
    """An agent that is to run in that mode with this environment; None: start the program."""
    if testrun.is_first(f"agent-{mode}"):
        return None
    warm = find(env)
    return None if warm is None else Piped(warm, env)


def start(
    warm: Warm, env: Mapping[str, str], folder: Path, streams: Sequence[int], session: bool = False
) -> Started:
    """Fork an agent as its command starts it, with these descriptors, which are closed here."""
    return warm.start(command()[_PYTHON:], env, folder, streams, session=session)


def command() -> list[str]:
    """The words of the command that starts agents."""
    return shlex.split(bundle.command(bundle.build().hash))


def find(env: Mapping[str, str]) -> Warm | None:
    """What forks agents with this environment; None: start the program."""
    libraries = env.get(_LIBRARIES, "")
    if libraries and libraries != str(fake_nvml.build().parent):
        return None
    warm = _agents(libraries)
    early = {name: value for name, value in read_early(env).items() if name not in _IGNORED}
    return warm if early == read_early(warm.env) else None


def stand_by() -> None:
    """Have the process run that forks agents: forked daemons ask it for those of this machine."""
    _agents("")


@functools.cache
def _agents(libraries: str) -> Warm:
    code = cache("hostler-test-agents") / bundle.build().hash
    if not code.is_dir():
        _unpack(code)
    # Where no language is set, Python itself sets LC_CTYPE.
    env = {name: os.environ[name] for name in os.environ if name.startswith(_KEPT)}
    if libraries:
        env[_LIBRARIES] = libraries
    name = f"{warm_server.AGENTS}{'-nvml' if libraries else ''}"
    return Warm(warm_server.AGENTS, "-I", "-S", name=name, folder=code, env=env)


def _unpack(code: Path) -> None:
    """As the bootstrap does."""
    made = Path(tempfile.mkdtemp(prefix=f"{code.name}.", dir=code.parent))
    with zipfile.ZipFile(io.BytesIO(bundle.build().data)) as archive:
        archive.extractall(made)
    try:
        made.rename(code)
    except OSError:  # another worker was faster
        shutil.rmtree(made)
