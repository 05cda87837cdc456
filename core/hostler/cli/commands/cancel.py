"""`hostler cancel RUN...`: stop runs; asks first only if several are named."""

from __future__ import annotations

import argparse

from hostler.cli.options import run_name
from hostler.cli.shared import (
    DECLINED,
    add_common,
    add_yes,
    each,
    named_runs,
    note,
    open_client,
    out,
    yes_to_several,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("runs", type=run_name, nargs="+", metavar="RUN", help="runs, by id; `last`")
    add_yes(parser)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Cancel; asks first if there are several runs."""
    client = open_client(args)
    found = {run.run_id: run for run in named_runs(client, args.runs)}
    ids = list(found)
    if len(ids) > 1 and not yes_to_several(args, "Cancel", ids):
        return DECLINED

    def cancel(run_id: str) -> None:
        client.cancel(run_id)
        if args.quiet:
            return
        out(f"{run_id}: cancelling")
        nested = found[run_id].nested.items()
        if left := [name for name, has_ended in nested if not has_ended and name not in found]:
            note(
                f"runs that {run_id} submitted keep running; to cancel them: "
                f"hostler cancel {' '.join(left)}"
            )

    return each(ids, cancel)
