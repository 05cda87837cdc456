"""Personal daemons that cost a fork and no start of Python: most of a daemon's start is loading.

with start_daemon(state, env, folder) as started:
    ...  # until it answers, or started.has_ended()

The daemon is a process of its own with the arguments, environment, folder, session and log that
`hostler daemon start` gives it. What loads when, and what is read while modules load, is not shown
by it: `can_start` says where the true program is needed. Tests of the start itself run the command.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from hostler.base.private import make_private
from hostler.base.programs import safe_environ
from tests.support.programs import warm_server

_READ_EARLY = ("PYTHON", "LANG", "LC_", "LD_", "TZ", "MALLOC", "SSLKEYLOG")
"""How names of variables begin that Python, libraries or modules read while they load."""


def can_start(env: Mapping[str, str]) -> bool:
    """Whether a fork sees all that a new program with this environment would see."""
    return _read_early(safe_environ(env)) == _read_early(_warm().env)


def _read_early(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_READ_EARLY)}


_NOT_OURS = ("HOSTLER_", "SSH_", "PYTHONDONTWRITEBYTECODE")
"""Of whoever runs the tests; see `Desk.env`."""


class Started:
    """A forked process, which is watched until the block ends."""

    def __init__(self, told: int) -> None:
        self._told = os.fdopen(told, "rb", buffering=0)
        self.pid = int(self._line(30))

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        self._told.close()

    def has_ended(self) -> bool:
        """Whether it has."""
        return bool(select.select([self._told], [], [], 0)[0])

    def _line(self, timeout: float) -> bytes:
        assert select.select([self._told], [], [], timeout)[0], "the warm process does not answer"
        return self._told.readline()


class Warm:
    """The warm process of this test process."""

    def __init__(self) -> None:
        self.env = {k: v for k, v in safe_environ().items() if not k.startswith(_NOT_OURS)}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", warm_server.__file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()], env=self.env, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
        atexit.register(self.close)

    def close(self) -> None:
        """End it; what it has started goes on."""
        self._socket.close()
        self._process.wait(30)

    def start(self, words: list[str], env: dict[str, str], folder: Path, log: Path) -> Started:
        """Fork for one command, in a session of its own, which writes to `log`."""
        request = json.dumps({"words": words, "env": env, "folder": str(folder)}).encode()
        told, tell = os.pipe()
        stdin = os.open(os.devnull, os.O_RDONLY)
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            socket.send_fds(self._socket, [request], [stdin, output, output, tell])
        finally:
            for number in (stdin, output, tell):
                os.close(number)
        return Started(told)


@functools.cache
def _warm() -> Warm:
    return Warm()


def start_daemon(state: Path, env: Mapping[str, str], folder: Path) -> Started:
    """Begin a personal daemon with that state; it may not listen yet."""
    make_private(str(state))
    log = state / "daemon.log"
    return _warm().start(["serve", "--personal"], safe_environ(env), folder, log)
