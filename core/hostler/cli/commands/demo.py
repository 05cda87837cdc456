"""`hostler demo`: a simulated lab to try Hostler in."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from hostler.base.errors import InputError
from hostler.base.table import is_terminal
from hostler.cli.demo_folder import Options as Wanted
from hostler.cli.demo_folder import running_demo
from hostler.cli.home import has_screen, open_screen
from hostler.cli.kinds import count, natural, positive
from hostler.cli.options import add_common
from hostler.cli.shared import note_for, out

TAKES_COMMAND = True

EPILOG = """\
Without a command, the screen opens. A command after -- runs with the demo's daemon:
  hostler demo -- hostler gpus
"""
_REST_S = 0.2
_MOST_SPEED = 20.0
"""Beyond it hosts cannot be looked at often enough to know them."""


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
    """Show the screen, run the command, or wait; afterwards nothing is left."""
    if args.speed > _MOST_SPEED:
        raise InputError(f"--speed {args.speed:g} is more than {_MOST_SPEED:g}")
    wanted = Wanted(args.hosts, args.gpus, args.seed, args.speed, args.no_runs)
    say = note_for(args)
    say("SIM: preparing a simulated lab; nothing in it is real")
    with running_demo(wanted) as demo:
        os.environ.update(demo.environ)
        command: Sequence[str] = getattr(args, "command", ())
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


def _run_command(command: Sequence[str]) -> int:
    try:
        return subprocess.run(command, check=False).returncode
    except OSError as error:
        raise InputError(f"{command[0]} cannot be run: {error.strerror}") from error
