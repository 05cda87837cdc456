"""`hostler rerun RUN`: run all stages again, with the current code."""

from __future__ import annotations

import argparse

from hostler.cli.options import add_common, run_name
from hostler.cli.shared import hint, note_for, open_client, out, out_json
from hostler.client.submission import rerun


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=run_name, metavar="RUN", help="a run, by id; `last`")
    parser.add_argument(
        "--same-code", action="store_true", help="use the original code, not the current code"
    )
    add_common(parser, json_output=True)


def run(args: argparse.Namespace) -> int:
    """Submit it again; its id."""
    client = open_client(args)
    again = rerun(args.run, same_code=args.same_code, say=note_for(args))
    made = client.carry_out(again)
    if args.json:
        out_json("run", made)
        return 0
    out(made.run_id)
    hint(args, f"see it: hostler show {made.run_id}   wait for it: hostler wait {made.run_id}")
    return 0
