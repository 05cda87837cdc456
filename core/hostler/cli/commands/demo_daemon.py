"""`hostler __demo FOLDER`: the daemon that `hostler demo` starts."""

from __future__ import annotations

import argparse

from hostler.cli.commands import demo


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folder", metavar="FOLDER", help="where everything of it lies")
    demo.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until stdin ends."""
    from hostler.cli.demo_daemon import run as serve

    return serve(args)
