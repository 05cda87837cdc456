"""`hostler why RUN[/STAGE]`: why a stage is pending, where it runs, or how it ended; show/why.py
makes the lines."""

from __future__ import annotations

import argparse

from hostler.cli.options import run_and_stage
from hostler.cli.shared import add_common, open_client, out, out_json
from hostler.show.why import answer_lines


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "run",
        type=run_and_stage,
        metavar="RUN[/STAGE]",
        help="a run's id, or its beginning; `last`",
    )
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """Explain."""
    found = open_client(args).why(*args.run)
    if args.json:
        out_json("why", found)
        return 0
    for line in answer_lines(found, single=args.run[1] is not None):
        out(line)
    return 0
