"""Starts, watches and removes the demo's daemon, for `hostler demo`."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hostler.base.errors import HostlerError
from hostler.base.paths import SOCKET_NAME
from hostler.base.programs import own_argv, safe_environ

_ENDS_WITHIN_S = 5.0
_LOG = "daemon.log"
_CONFIG = "config.toml"


@dataclass(frozen=True, slots=True)
class Options:
    """The lab that is wanted."""

    hosts: int | None = None
    gpus: int | None = None
    seed: int = 0
    speed: float = 1.0
    no_runs: bool = False

    def words(self) -> list[str]:
        """The same for the daemon's command line."""
        words = [f"--seed={self.seed}", f"--speed={self.speed}"]
        words += [f"--hosts={self.hosts}"] if self.hosts is not None else []
        words += [f"--gpus={self.gpus}"] if self.gpus is not None else []
        return [*words, "--no-runs"] if self.no_runs else words


class Demo:
    """A demo that runs."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self._folder, self._process = folder, process

    @property
    def socket(self) -> str:
        """Where its daemon answers."""
        return str(self._folder / SOCKET_NAME)

    @property
    def folder(self) -> str:
        """Where everything of it lies."""
        return str(self._folder)

    @property
    def environ(self) -> dict[str, str]:
        """What makes every client speak with it, keep what it remembers with it, and read nothing
        of the person's own."""
        return {
            "HOSTLER_SOCKET": self.socket,
            "HOSTLER_STATE": str(self._folder),
            "HOSTLER_CONFIG": str(self._folder / _CONFIG),
            "HOSTLER_DEMO": "1",
        }

    def wait_ready(self) -> None:
        """Until there is something to see. Raises HostlerError where it does not come to that."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self._process.wait()
            raise HostlerError(f"the demo's daemon could not start: {self._last_line()}")

    def is_alive(self) -> bool:
        """Its daemon runs."""
        return self._process.poll() is None

    def raise_ended(self) -> NoReturn:
        """It ended by itself. Raises HostlerError with the last line of its log."""
        raise HostlerError(f"the demo's daemon has ended: {self._last_line()}")

    def _last_line(self) -> str:
        """The last thing that its daemon said."""
        with contextlib.suppress(OSError):
            lines = (self._folder / _LOG).read_text(errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "no word")
        return "its log is gone"

    def end(self) -> None:
        """Let go of it: the end of its stdin tells it to end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def running_demo(wanted: Options) -> Iterator[Demo]:
    """A demo in a new folder of the user's own; both are gone at the end.

    Raises HostlerError where its daemon does not start.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    folder = Path(tempfile.mkdtemp(prefix="hostler-demo-"))
    try:
        (folder / _CONFIG).write_text(
            "# A demo's: its hosts are simulated, and stand in no file.\n"
        )
        demo = Demo(folder, _spawn(folder, wanted))
        try:
            demo.wait_ready()
            yield demo
        finally:
            demo.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _spawn(folder: Path, wanted: Options) -> subprocess.Popen[str]:
    """In a session of its own: Ctrl-C and the end of the terminal are not meant for it."""
    argv = own_argv("__demo", str(folder), *wanted.words())
    with (folder / _LOG).open("w") as log:
        return subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            start_new_session=True, cwd="/", env=safe_environ(),
        )  # fmt: skip


def _leave(number: int, frame: FrameType | None) -> None:
    """Told to end: by the ordinary way out, which takes everything away."""
    raise SystemExit(128 + number)
