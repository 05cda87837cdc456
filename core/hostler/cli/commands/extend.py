"""`hostler extend NAME TIME`: its arguments and answer; lets a service that has an end run
longer."""

from __future__ import annotations

import argparse

from hostler.base.dates import clock_text
from hostler.cli.options import duration
from hostler.cli.shared import add_common, open_client, out


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("service", metavar="NAME", help="a service, by name or RUN.NAME")
    parser.add_argument("time", metavar="TIME", type=duration, help="by how much, like 7d")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Extend it."""
    found = open_client(args).extend(args.service, args.time)
    if not args.quiet and found.until is not None:
        out(f"{found.name}: runs until {clock_text(found.until)}")
    return 0
