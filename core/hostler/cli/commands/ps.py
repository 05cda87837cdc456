"""`hostler ps`: running and pending stages with reasons; the default --limit, and when cells of
a matrix share rows."""

from __future__ import annotations

import argparse
import time

from hostler.base.errors import NotFoundError
from hostler.base.table import is_terminal
from hostler.base.users import owner_named
from hostler.cli.follow import indices_of
from hostler.cli.options import limit
from hostler.cli.recover_hint import hint_at_recover
from hostler.cli.shared import add_common, hint, open_client, out_json, out_table
from hostler.show.runs import PS_COLUMNS, ps_rows

_ROOM = 16
"""Rows of one run on a terminal; cells of a matrix share rows beyond that."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--owner", metavar="USER", help="only runs of this user; `me` is you")
    parser.add_argument(
        "--limit", type=limit, default=50, metavar="N", help="at most N runs (default 50)"
    )
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """Show the stages of all open runs, the oldest run first."""
    client = open_client(args)
    hint_at_recover(args, client)
    found = client.runs(state="open", owner=owner_named(args.owner), limit=args.limit)
    runs = []
    for summary in reversed(found):
        try:
            runs.append(client.show(summary.run_id))
        except NotFoundError:
            continue  # removed between the two questions
    if args.json:
        out_json("ps", {"at": time.time(), "runs": runs})
        return 0
    indices = indices_of(client, runs)
    rows: list[list[str]] = []
    for entry in runs:
        rows += ps_rows(entry, time.time(), indices, _ROOM if is_terminal() else None)
    if rows:
        out_table(args, PS_COLUMNS, rows)
    else:
        hint(args, "no open runs; `hostler runs` lists finished runs")
    return 0
