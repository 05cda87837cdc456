"""`hostler rerun RUN`: run all of it again, with today's code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hostler.cli.kinds import run_name
from hostler.cli.options import add_common
from hostler.cli.shared import hint, note_for, open_client, out, out_json
from hostler.cli.submit import with_source
from hostler.errors import InputError


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
    old = client.run(args.run)
    source = None
    if not args.same_code and (old.get("source") or {}).get("digest"):
        body = with_source(client, _snapshot_body(), _folder(old), note_for(args))
        source = body["source"]
    made = client.rerun(str(old["run_id"]), source=source)
    if args.json:
        out_json("run", {k: v for k, v in made.items() if k != "schema"})
        return 0
    out(str(made["run_id"]))
    hint(
        args, f"see it: hostler show {made['run_id']}   wait for it: hostler wait {made['run_id']}"
    )
    return 0


def _snapshot_body() -> dict[str, Any]:
    return {"command": {"command": ["true"], "code": "snapshot"}}


def _folder(old: dict[str, Any]) -> Path:
    """The folder that the code came from. Raises InputError where it is not on this machine."""
    path = (old.get("source") or {}).get("path")
    if not path or not Path(path).is_dir():
        raise InputError(
            f"the code of {old['run_id']} came from {path or 'nowhere'}, which is not here",
            remedy="Run this where the folder is, or add --same-code",
        )
    return Path(path)
