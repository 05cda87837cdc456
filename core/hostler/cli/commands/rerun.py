"""`hostler rerun RUN`: run all of it again, with today's code."""

from __future__ import annotations

import argparse

from hostler.cli.kinds import run_name
from hostler.cli.options import add_common
from hostler.cli.shared import hint, note_for, open_client, out, out_json
from hostler.client.submission import sent_source
from hostler.submit.sources import code_folder

_SNAPSHOT = {"command": {"command": ["true"], "code": "snapshot"}}
"""A submission that is asked about for the limits of sources."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=run_name, metavar="RUN", help="a run, by id; `last`")
    parser.add_argument(
        "--same-code", action="store_true", help="the code of the first time, not today's"
    )
    add_common(parser, json_output=True)


def run(args: argparse.Namespace) -> int:
    """Submit it again; its id."""
    client = open_client(args)
    old = client.show(args.run)
    source = None
    if not args.same_code and (old.get("source") or {}).get("digest"):
        folder = code_folder(old, "add --same-code")
        limits = client.check(_SNAPSHOT)
        include = old["source"].get("include") or ()
        words = [word for stage in old["stages"] for word in stage["command"]]
        sending = sent_source(folder, limits, note_for(args), include, words)
        source = client.carry_out(sending)
    made = client.rerun(str(old["run_id"]), source=source)
    if args.json:
        out_json("run", {k: v for k, v in made.items() if k != "schema"})
        return 0
    out(str(made["run_id"]))
    hint(
        args, f"see it: hostler show {made['run_id']}   wait for it: hostler wait {made['run_id']}"
    )
    return 0
