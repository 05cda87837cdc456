"""`hostler demo`: options of the simulated lab (hosts, GPUs, seed, highest speed), its private
folder and environment, and its end."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hostler.base.errors import HostlerError, InputError
from hostler.base.paths import SOCKET_NAME
from hostler.base.programs import own_argv, safe_environ
from hostler.base.table import is_terminal
from hostler.cli.home import has_screen, open_screen
from hostler.cli.options import count, natural, positive
from hostler.cli.shared import add_common, note_for, out

TAKES_COMMAND = True

EPILOG = """\
Without a command, the screen opens. A command after -- runs with the demo's daemon:
  hostler demo -- hostler gpus
"""
_REST_S = 0.2
_MOST_SPEED = 20.0
"""At a higher speed, hosts cannot be observed often enough."""

_ENDS_WITHIN_S = 5.0
_LOG = "daemon.log"
_CONFIG = "config.toml"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--hosts", type=count, metavar="N", help="simulate N equal hosts instead of ten"
    )
    parser.add_argument("--gpus", type=count, metavar="N", help="GPUs on each host")
    parser.add_argument(
        "--seed",
        type=natural,
        default=0,
        metavar="N",
        help="seed of the simulation: another seed gives another lab",
    )
    parser.add_argument(
        "--speed", type=positive, default=1.0, metavar="X",
        help="simulated time passes X times as fast, at most 20",
    )  # fmt: skip
    parser.add_argument(
        "--no-runs", action="store_true", help="simulate hosts only, submit no runs"
    )
    parser.add_argument(
        "--headless", action="store_true", help="no screen: print the socket and run until Ctrl-C"
    )
    add_common(parser, timeout=False)


def run(args: argparse.Namespace) -> int:
    """Show the screen, run the command, or wait; then remove everything."""
    if args.speed > _MOST_SPEED:
        raise InputError(f"--speed {args.speed:g} is more than {_MOST_SPEED:g}")
    wanted = DemoOptions(args.hosts, args.gpus, args.seed, args.speed, args.no_runs)
    command: Sequence[str] = getattr(args, "command", ())
    _check_exists(command)
    say = note_for(args)
    say("SIM: preparing a simulated lab; nothing in it is real")
    with running_demo(wanted) as demo:
        os.environ.update(demo.environ)
        if command:
            return _run_command(command)
        if args.headless or not (is_terminal() and is_terminal(sys.stdin) and has_screen()):
            out(f"SIM: a simulated lab at {demo.socket}")
            out(f"  hostler gpus --socket {demo.socket}")
            out(f"  export HOSTLER_DEMO=1 HOSTLER_SOCKET={demo.socket}")
            sys.stdout.flush()
            say("Ctrl-C ends it")
            while demo.is_alive():
                time.sleep(_REST_S)
            demo.raise_ended()
        os.environ["XDG_CACHE_HOME"] = demo.folder  # what the screen last saw of a real lab stays
        return open_screen()


def _check_exists(command: Sequence[str]) -> None:
    """Raises InputError for a program that does not exist, before a lab is prepared for it."""
    if command and not Path(command[0]).exists() and shutil.which(command[0]) is None:
        raise _unrunnable(command, os.strerror(errno.ENOENT))


def _run_command(command: Sequence[str]) -> int:
    try:
        return subprocess.run(command, check=False).returncode
    except OSError as error:
        raise _unrunnable(command, str(error.strerror)) from error


def _unrunnable(command: Sequence[str], why: str) -> InputError:
    return InputError(f"{command[0]} cannot be run: {why}")


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The requested lab."""

    hosts: int | None = None
    gpus: int | None = None
    seed: int = 0
    speed: float = 1.0
    no_runs: bool = False

    def words(self) -> list[str]:
        """The options as words of the daemon's command line."""
        words = [f"--seed={self.seed}", f"--speed={self.speed}"]
        words += [f"--hosts={self.hosts}"] if self.hosts is not None else []
        words += [f"--gpus={self.gpus}"] if self.gpus is not None else []
        return [*words, "--no-runs"] if self.no_runs else words


class Demo:
    """A running demo."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self._folder, self._process = folder, process

    @property
    def socket(self) -> str:
        """The socket of its daemon."""
        return str(self._folder / SOCKET_NAME)

    @property
    def folder(self) -> str:
        """The folder of all its files."""
        return str(self._folder)

    @property
    def environ(self) -> dict[str, str]:
        """Variables that make every client use this daemon and its folder, and ignore the user's
        own configuration."""
        return {
            "HOSTLER_SOCKET": self.socket,
            "HOSTLER_STATE": str(self._folder),
            "HOSTLER_CONFIG": str(self._folder / _CONFIG),
            "HOSTLER_DEMO": "1",
        }

    def wait_ready(self) -> None:
        """Wait until there is something to show. Raises HostlerError if the daemon does not
        start."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self._process.wait()
            raise HostlerError(f"the demo's daemon could not start: {self._last_line()}")

    def is_alive(self) -> bool:
        """Its daemon runs."""
        return self._process.poll() is None

    def raise_ended(self) -> NoReturn:
        """The daemon ended unexpectedly. Raises HostlerError with the last line of its log."""
        raise HostlerError(f"the demo's daemon has ended: {self._last_line()}")

    def _last_line(self) -> str:
        """The last line of its daemon's output."""
        with contextlib.suppress(OSError):
            lines = (self._folder / _LOG).read_text(errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "no word")
        return "its log is gone"

    def end(self) -> None:
        """End it by closing its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def running_demo(wanted: DemoOptions) -> Iterator[Demo]:
    """A demo in a new folder of the user's own; both are gone at the end.

    Raises HostlerError where its daemon does not start.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    folder = Path(tempfile.mkdtemp(prefix="hostler-demo-"))
    try:
        (folder / _CONFIG).write_text(
            "# Configuration of a demo, whose simulated hosts are not listed here.\n"
        )
        demo = Demo(folder, _spawn(folder, wanted))
        try:
            demo.wait_ready()
            yield demo
        finally:
            demo.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _spawn(folder: Path, wanted: DemoOptions) -> subprocess.Popen[str]:
    """Runs in its own session: Ctrl-C and the end of the terminal do not reach it."""
    argv = own_argv("__demo", str(folder), *wanted.words())
    with (folder / _LOG).open("w") as log:
        return subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            start_new_session=True, cwd="/", env=safe_environ(),
        )  # fmt: skip


def _leave(number: int, frame: FrameType | None) -> None:
    """Ends the demo normally on a signal, so that everything is removed."""
    raise SystemExit(128 + number)
