"""Daemons and commands that cost a fork and no start of Python: most of a start is loading.

with start_daemon(state, env, folder) as started:
    ...  # until it answers, or started.has_ended()
done = run(["ps"], env, folder, 60, b"")

Each is a process of its own with the arguments, environment, folder and descriptors of the true
program; a daemon has its own session and log, as `hostler daemon start` gives it. What loads when,
and what is read while modules load, is not shown by them: `can_start` and `can_run` say where the
true program is needed. Tests of the start itself run the program.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from urllib.parse import quote

from hostler.base.private import make_private
from hostler.base.programs import safe_environ
from tests.support.programs import testrun, warm_server

_READ_EARLY = ("PYTHON", "LANG", "LC_", "LD_", "TZ", "MALLOC", "SSLKEYLOG")
"""How names of variables begin that Python, libraries or modules read while they load."""


def can_start(env: Mapping[str, str]) -> bool:
    """Whether a fork sees all that a new program with this environment would see."""
    return read_early(safe_environ(env)) == read_early(_daemons().env)


def can_run(words: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether a fork may stand for this command. The first of a name in each test run is the true
    program, so that what loads when is tested for all of them."""
    if testrun.is_first(f"ran-{quote(''.join(words[:1]), safe='')}"):
        return False
    return read_early(env) == read_early(_commands().env)


def read_early(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that count when a process starts, and not later."""
    return {name: value for name, value in env.items() if name.startswith(_READ_EARLY)}


_NOT_OURS = ("HOSTLER_", "SSH_", "PYTHONDONTWRITEBYTECODE")
"""Of whoever runs the tests; see `Desk.env`."""
_LOADED_S = 100
"""Within which a warm process has loaded all: seconds, and a minute where the machine is busy."""


class Started:
    """A forked process, which is watched until the block ends."""

    def __init__(self, told: int) -> None:
        self._told = os.fdopen(told, "rb", buffering=0)
        try:
            self.pid = int(self._line(_LOADED_S))
        except TimeoutError:
            self._told.close()
            raise

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Watch it no longer."""
        self._told.close()

    def has_ended(self) -> bool:
        """Whether it has."""
        return bool(select.select([self._told], [], [], 0)[0])

    def exit_code(self, ends: float) -> int:
        """Once it has ended; that of a signal is negative. Raises TimeoutError."""
        return os.waitstatus_to_exitcode(int(self._line(max(0.0, ends - time.monotonic()))))

    def _line(self, timeout: float) -> bytes:
        if not select.select([self._told], [], [], timeout)[0]:
            raise TimeoutError("the warm process does not answer, or its child does not end")
        return self._told.readline()


class Warm:
    """A process of this test run that has loaded a package: the first worker that needs it starts
    it, and it ends when none is left."""

    def __init__(
        self,
        package: str,
        *options: str,
        name: str = "",
        folder: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`name`: of the process among those of the run, if not the package's; `folder`: where the
        package is, if not where Python looks for it; `env`: all its variables, if not ours."""
        own = {k: v for k, v in safe_environ().items() if not k.startswith(_NOT_OURS)}
        self.env = own if env is None else env
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = testrun.own(name or package)
        words = [package] if folder is None else [package, str(folder)]
        with warm_server.locked(f"{path}.lock"):
            try:
                self._socket.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError):
                self._begin(path, words, options)
                self._socket.connect(str(path))
        atexit.register(self._socket.close)

    def _begin(self, path: Path, words: Sequence[str], options: Sequence[str]) -> None:
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listens:
            listens.bind(str(path))
            listens.listen(64)
            listens.set_inheritable(True)
            os.posix_spawn(  # nobody waits for it: other workers may need it longer
                sys.executable,
                [sys.executable, *options, warm_server.__file__, str(listens.fileno()), *words],
                self.env,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                ],
            )

    def start(
        self,
        words: Sequence[str],
        env: Mapping[str, str],
        folder: Path,
        streams: Sequence[int],
        *,
        session: bool = False,
    ) -> Started:
        """Fork for one command with descriptors for its stdin, stdout and stderr, which are closed
        here; `session`: in a session of its own."""
        request = {"words": [*words], "env": {**env}, "folder": str(folder), "session": session}
        told, tell = os.pipe()
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [*streams, tell])
        finally:
            for number in {*streams, tell}:
                os.close(number)
        return Started(told)


@functools.cache
def _daemons() -> Warm:
    return Warm(warm_server.DAEMONS, "-P")


@functools.cache
def _commands() -> Warm:
    return Warm(warm_server.COMMANDS)


def start_daemon(state: Path, env: Mapping[str, str], folder: Path) -> Started:
    """Begin a personal daemon with that state; it may not listen yet."""
    make_private(str(state))
    log = os.open(state / "daemon.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    streams = [os.open(os.devnull, os.O_RDONLY), log, log]
    words = ["serve", "--personal"]
    return _daemons().start(words, safe_environ(env), folder, streams, session=True)


def run(
    words: Sequence[str], env: Mapping[str, str], folder: Path, timeout: float, given: bytes | None
) -> subprocess.CompletedProcess[bytes]:
    """Run one command to its end, as `subprocess.run` with pipes. Raises TimeoutExpired."""
    ends = time.monotonic() + timeout
    (out, says), (errors, complains) = os.pipe(), os.pipe()
    streams = [_readable(given), says, complains]
    with (
        open(out, "rb") as output,
        open(errors, "rb") as complaints,
        _commands().start(words, env, folder, streams) as begun,
    ):
        try:
            said = _read_all((output, complaints), ends)
            return subprocess.CompletedProcess(words, begun.exit_code(ends), *said)
        except TimeoutError as error:
            os.kill(begun.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(["hostler", *words], timeout) from error


def _readable(given: bytes | None) -> int:
    """A pipe from which this is read, or nothing."""
    if given is None:
        return os.open(os.devnull, os.O_RDONLY)
    reads, gives = os.pipe()
    os.set_blocking(gives, False)
    written = os.write(gives, given) if given else 0
    os.close(gives)
    assert written == len(given), "it does not fit into a pipe"
    return reads


def _read_all(files: Sequence[BufferedReader], ends: float) -> list[bytes]:
    """All that comes from each of them. Raises TimeoutError."""
    read = {file.fileno(): bytearray() for file in files}
    waiting = select.poll()
    for number in read:
        waiting.register(number, select.POLLIN)
    left = len(read)
    while left:
        ready = waiting.poll(max(0.0, ends - time.monotonic()) * 1000)
        if not ready:
            raise TimeoutError
        for number, _ in ready:
            data = os.read(number, 1 << 16)
            read[number] += data
            if not data:
                waiting.unregister(number)
                left -= 1
    return [bytes(data) for data in read.values()]
