"""`hostler retry RUN`: run again what did not succeed."""

from __future__ import annotations

import argparse

from hostler.cli.kinds import run_name
from hostler.cli.options import add_common
from hostler.cli.shared import hint, open_client, out, out_json


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=run_name, metavar="RUN", help="a finished run, by id; `last`")
    add_common(parser, json_output=True)


def run(args: argparse.Namespace) -> int:
    """Submit the retry; its id."""
    made = open_client(args).retry(args.run)
    if args.json:
        out_json("run", {k: v for k, v in made.items() if k != "schema"})
        return 0
    out(str(made["run_id"]))
    hint(
        args, f"see it: hostler show {made['run_id']}   wait for it: hostler wait {made['run_id']}"
    )
    return 0
