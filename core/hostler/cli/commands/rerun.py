"""`hostler rerun RUN`: run all stages again, with the current code or --same-code."""

from __future__ import annotations

import argparse
import os

from hostler.cli.options import run_name
from hostler.cli.shared import (
    add_common,
    add_secret_option,
    hint,
    note_for,
    open_client,
    out,
    out_json,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=run_name, metavar="RUN", help="a run, by id; `last`")
    parser.add_argument(
        "--same-code", action="store_true", help="use the original code, not the current code"
    )
    add_secret_option(parser)
    add_common(parser, json_output=True)


def run(args: argparse.Namespace) -> int:
    """Submit the run again; prints its id."""
    from hostler.client.submission import rerun  # what packs code takes time to load
    from hostler.submit.secrets import all_own_secrets

    own = all_own_secrets(args.secrets or (), os.environ)
    client = open_client(args)
    again = rerun(args.run, same_code=args.same_code, say=note_for(args), secrets=own)
    made = client.carry_out(again)
    if args.json:
        out_json("run", made)
        return 0
    out(made.run_id)
    hint(args, f"see it: hostler show {made.run_id}   wait for it: hostler wait {made.run_id}")
    return 0
