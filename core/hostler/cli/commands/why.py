"""`hostler why RUN[/STAGE]`: why a stage waits, is where it is, or ended as it did."""

from __future__ import annotations

import argparse
from typing import Any

from hostler.cli.kinds import run_and_stage
from hostler.cli.options import add_common
from hostler.cli.shared import open_client, out, out_json


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "run",
        type=run_and_stage,
        metavar="RUN[/STAGE]",
        help="a run's id, or its beginning; `last`",
    )
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """Explain."""
    found = open_client(args).why(*args.run)
    if args.json:
        out_json("why", found)
        return 0
    stages = found["stages"]
    for stage in stages:
        # Every host's reason is for when one stage is asked about, or the run has only one.
        whole = args.run[1] is not None or len(stages) == 1
        for line in why_lines(stage, whole=whole or stage["status"] == "waiting"):
            out(line)
    return 0


def why_lines(stage: dict[str, Any], *, whole: bool) -> list[str]:
    """The sentence, and with `whole` a line for each host and what would start at once."""
    lines = [f"{stage['label']}: {stage['sentence']}"]
    reason = stage.get("reason")
    if not reason or not whole:
        return lines
    lines += [f"  {host['host']}: {host['sentence']}" for host in reason.get("hosts") or ()]
    if reason.get("nearest"):
        lines.append(f"  would start now: {reason['nearest']}")
    return lines
