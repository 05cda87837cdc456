"""`hostler runs`: runs, the newest first."""

from __future__ import annotations

import argparse
import time

from hostler.cli.kinds import count, since
from hostler.cli.options import add_common
from hostler.cli.render import RUN_COLUMNS, summary_row
from hostler.cli.shared import hint, me, open_client, out, out_json, out_table
from hostler.quick.table import is_terminal

STATES = ("open", "finished", "succeeded", "failed", "cancelled")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--state", choices=STATES, help="only runs in this state")
    parser.add_argument("--pipeline", metavar="NAME", help="only runs of this pipeline")
    parser.add_argument("--owner", metavar="USER", help="only runs of this user; `me` is you")
    parser.add_argument(
        "--since", type=since, metavar="TIME", help="only runs submitted since: 2h, 30d, 2026-11-24"
    )
    parser.add_argument(
        "--limit", type=count, default=30, metavar="N", help="at most N runs (default 30)"
    )
    parser.add_argument("-o", "--output", choices=("table", "ids"), default="table",
                        help="ids: only the ids, a line each")  # fmt: skip
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """List runs."""
    client = open_client(args)
    found = client.runs(
        state=args.state,
        pipeline=args.pipeline,
        owner=me(args.owner),
        since=args.since,
        limit=args.limit,
    )
    if args.json:
        out_json("runs", {"runs": found})
    elif args.output == "ids" or args.quiet:
        for entry in found:
            out(str(entry["run_id"]))
    elif found:
        piped = not is_terminal()
        rows = [summary_row(entry, time.time(), piped=piped) for entry in found]
        out_table(args, RUN_COLUMNS, rows)
    else:
        hint(args, "no such runs")
    return 0
