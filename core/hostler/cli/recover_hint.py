"""Where hosts hold runs that the daemon's database does not know: say so, and what to do."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from hostler.cli.shared import counted, note_for
from hostler.client import Client


def hint_at_recover(args: argparse.Namespace, client: Client) -> None:
    """A note where runs may be found again; silence with --quiet and --json."""
    if args.quiet or getattr(args, "json", False):
        return
    said = recover_sentence(client.version())
    if said is not None:
        note_for(args)(said)


def recover_sentence(about: Mapping[str, Any]) -> str | None:
    """What is missing in the database by the daemon's own word, and the remedy; None: nothing."""
    left = about.get("left_behind")
    if not isinstance(left, dict):
        return None
    remedy = "find them again: hostler daemon stop; hostler daemon recover"
    if left.get("count"):
        where = ", ".join(map(str, left.get("hosts") or ()))
        count = int(left["count"])
        runs = f"{counted(count, 'run')} on {where} {'is' if count == 1 else 'are'}"
        return f"{runs} not in the daemon's database; {remedy}"
    state = about.get("state")
    if left.get("daemons"):
        ids = ", ".join(map(str, left["daemons"]))
        return (
            f"the database in {state} knows no runs; hosts hold runs of other daemons of this login"
            f" ({ids}). If one of them was yours and is lost, docs/cli.md, `hostler daemon`, says "
            "how to find its runs again"
        )
    return f"the database in {state} was made anew: if runs are missing, {remedy}"
