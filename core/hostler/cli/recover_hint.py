"""The notes that suggest `hostler daemon recover`: if hosts hold unknown runs, or a restored or
superseded daemon does not do everything."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hostler.base.units import counted
from hostler.cli.shared import note_for

if TYPE_CHECKING:
    from hostler.client import Client
    from hostler.model.views.daemon import DaemonView

_MOST_NAMED = 3
"""Daemons whose ids are shown: `hostler daemon status --json` has all."""


def hint_at_recover(args: argparse.Namespace, client: Client) -> None:
    """A note if runs may be recoverable, or wait for it; silent with --quiet and --json."""
    if args.quiet or getattr(args, "json", False):
        return
    said = recover_sentence(client.version())
    if said is not None:
        note_for(args)(said)


def recover_sentence(about: DaemonView) -> str | None:
    """What the daemon reports as missing in its database, and the remedy; None: nothing."""
    standing = generation_sentence(about)
    if standing is not None:
        return standing
    left = about.left_behind
    if left is None:
        return None
    remedy = "recover them: hostler daemon stop; hostler daemon recover"
    if left.count:
        where, count = ", ".join(left.hosts), left.count
        runs = f"{counted(count, 'run')} on {where} {'is' if count == 1 else 'are'}"
        return f"{runs} not in the daemon's database; {remedy}"
    state = about.state
    if left.daemons:
        return (
            f"the database in {state} has no runs yet, and hosts hold runs of other daemons of "
            f"this login ({_some(left.daemons)}). If you lost one of these daemons, "
            "docs/cli.md, `hostler daemon`, says how to recover its runs"
        )
    return f"the database in {state} is new: if runs are missing, {remedy}"


def generation_sentence(about: DaemonView) -> str | None:
    """Why a restored or superseded daemon is restricted; None: it is not."""
    told = about.generation
    if told.halted:
        return told.halted
    waiting = told.unmerged
    if not waiting:
        return None
    why = next(iter(told.problems.values()), "")
    return (
        f"notes since the backup are not merged yet: {_some(waiting)}"
        + (f" ({why})" if why else "")
        + "; the daemon starts and stops nothing there until then, and older runs wait"
    )


def _some(daemons: Sequence[str]) -> str:
    more = len(daemons) - _MOST_NAMED
    named = ", ".join(daemons[:_MOST_NAMED])
    return f"{named} and {more} more" if more > 0 else named
