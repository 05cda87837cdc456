"""`hostler __demo FOLDER`: starts the daemon of `hostler demo`, more slowly on a busy machine;
cli/demo_daemon.py runs it."""

from __future__ import annotations

import argparse
import time

from hostler.cli.commands import demo
from hostler.cli.commands.serve import no_garbage

_MOST_SLOWED = 3.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folder", metavar="FOLDER", help="the folder of the demo")
    demo.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until stdin ends."""
    begun, computed = time.monotonic(), time.process_time()
    with no_garbage():
        from hostler.cli.demo_daemon import run as serve

    # Loading computes and nothing else: what it took beyond that went to others of this machine.
    busy = (time.monotonic() - begun) / max(0.01, time.process_time() - computed)
    return serve(args, slowed=min(_MOST_SLOWED, max(1.0, busy)))
