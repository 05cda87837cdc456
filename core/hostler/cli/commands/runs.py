"""`hostler runs`: list or search runs by state, owner, parameter, metric and time, newest first;
the default --limit."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from hostler.base.table import is_terminal
from hostler.base.units import counted
from hostler.base.users import owner_named
from hostler.cli.options import limit, since
from hostler.cli.recover_hint import hint_at_recover
from hostler.cli.shared import add_common, hint, note_for, open_client, out, out_json, out_table
from hostler.show.progress import metrics_text
from hostler.show.runs import RUN_COLUMNS, summary_row

if TYPE_CHECKING:
    from hostler.model.views.history import HistoryRow

STATES = ("open", "finished", "succeeded", "failed", "cancelled")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--state", choices=STATES, help="only runs in this state")
    parser.add_argument("--pipeline", metavar="NAME", help="only runs of this pipeline")
    parser.add_argument("--owner", metavar="USER", help="only runs of this user; `me` is you")
    parser.add_argument(
        "--since",
        type=since,
        metavar="TIME",
        help="only runs submitted after this time: 2h, 30d (ago), 2026-11-24",
    )
    parser.add_argument(
        "--until", type=since, metavar="TIME", help="only runs submitted before this time"
    )
    parser.add_argument(
        "-p", "--param", action="append", default=[], metavar="NAME=VALUE",
        help="only runs with this parameter; also != < <= > >=; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--metric", action="append", default=[], metavar="NAME>=VALUE",
        help="only runs whose last value of this metric matches; also = != < <= >; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--text",
        metavar="TEXT",
        help="only runs with this in id, name, title, commit or parameters",
    )
    parser.add_argument(
        "--sort", metavar="[-]NAME",
        help="sort by submitted, took, gpu_hours, energy, a metric or parameter; - sorts "
             "descending",
    )  # fmt: skip
    parser.add_argument(
        "--releases", action="store_true", help="also runs that are releases of services"
    )
    parser.add_argument(
        "--limit", type=limit, default=30, metavar="N", help="at most N runs (default 30)"
    )
    parser.add_argument("-o", "--output", choices=("table", "ids"), default="table",
                        help="ids: only the ids, one per line")  # fmt: skip
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """List runs."""
    client = open_client(args)
    hint_at_recover(args, client)
    answer = client.history(
        pipeline=args.pipeline,
        owner=owner_named(args.owner),
        state=args.state,
        since=args.since,
        until=args.until,
        param=args.param,
        metric=args.metric,
        text=args.text,
        sort=args.sort,
        limit=args.limit,
        releases=args.releases,
    )
    found = answer.runs
    if args.sort and found:
        _say_if_unsorted(args, args.sort.removeprefix("-"), found[0])
    if args.json:
        out_json("runs", answer)
    elif args.output == "ids" or args.quiet:
        for entry in found:
            out(entry.run_id)
    elif found:
        piped = not is_terminal()
        rows = [summary_row(entry, time.time(), piped=piped) for entry in found]
        if args.metric or args.sort:
            for row, entry in zip(rows, found, strict=True):
                row[-1] = metrics_text(entry.metrics) or row[-1]
        out_table(args, RUN_COLUMNS, rows)
        if answer.total > len(found):
            hint(args, f"{answer.total} match; --limit shows more")
    else:
        hint(args, "no such runs")
    if answer.left_out:
        runs = counted(answer.left_out, "run")
        hint(args, f"{runs} of releases left out; --releases shows them")
    return 0


def _say_if_unsorted(args: argparse.Namespace, name: str, first: HistoryRow) -> None:
    """Note if no run has the sort key: runs without it come last, so it is enough to check the
    first."""
    from hostler.insight.search import COLUMNS

    if name not in COLUMNS and name not in first.metrics and name not in first.params:
        note_for(args)(
            f"not sorted: these runs have no metric or parameter {name!r}, and there is no column"
            f" of that name. Columns: {', '.join(COLUMNS)}"
        )
