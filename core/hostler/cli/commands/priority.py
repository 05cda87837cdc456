"""`hostler priority RUN N`: lower a run's priority; higher than 0 is refused."""

from __future__ import annotations

import argparse

from hostler.base.errors import InputError
from hostler.cli.options import integer, run_name
from hostler.cli.shared import add_common, open_client, out


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "run", type=run_name, metavar="RUN", help="a run that has not ended, by id; `last`"
    )
    parser.add_argument(
        "priority",
        type=integer,
        metavar="N",
        help="new priority: 0 or less, and lower than the current one",
    )
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Lower the priority; the daemon decides whether the user may."""
    if args.priority > 0:
        raise InputError("a priority can only be lowered", remedy="Use 0 or less")
    changed = open_client(args).priority(args.run, args.priority)
    if not args.quiet:
        out(f"{changed.run_id}: priority {changed.priority}")
    return 0
