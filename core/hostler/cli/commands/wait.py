"""`hostler wait RUN...`: wait until runs have ended; the worst exit code of all, 8 after
--timeout."""

from __future__ import annotations

import argparse
import time

from hostler.cli.follow import Follower
from hostler.cli.options import duration, run_name
from hostler.cli.shared import add_common, note_for, open_client, out_json
from hostler.show.progress import end_code, end_lines

STILL_RUNNING = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("runs", type=run_name, nargs="+", metavar="RUN", help="runs, by id; `last`")
    parser.add_argument(
        "--timeout", type=duration, metavar="TIME", help="wait at most this long, then exit with 8"
    )
    add_common(parser, json_output=True, timeout=False)


def run(args: argparse.Namespace) -> int:
    """Wait; the worst exit code of all runs (an open run counts as the worst)."""
    client = open_client(args)
    deadline = None if args.timeout is None else time.monotonic() + args.timeout
    codes, ended = [], []
    for run_id in [client.show(named).run_id for named in args.runs]:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        follower = Follower(client, run_id, left)
        follower.finish()
        if follower.run is None or not follower.is_over:
            note_for(args)(f"{follower.run_id} still runs")
            codes.append(STILL_RUNNING)
            continue
        ended.append(follower.run)
        codes.append(end_code(follower.run))
        for line in end_lines(follower.run):
            note_for(args)(line)
    if args.json:
        out_json("wait", {"runs": ended})
    return max(codes)
