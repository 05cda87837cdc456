"""`hostler rm RUN...`: remove finished runs and their files, after showing unfetched ones;
refuses open and kept runs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hostler.base.errors import ConflictError
from hostler.cli.options import run_name
from hostler.cli.shared import (
    DECLINED,
    add_common,
    add_yes,
    confirm,
    each,
    named_runs,
    open_client,
    out,
)
from hostler.show.kept import loss_lines

if TYPE_CHECKING:
    from hostler.client import Client
    from hostler.model.views.runs import RunDetail


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "runs", type=run_name, nargs="+", metavar="RUN", help="finished runs, by id"
    )
    add_yes(parser)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Remove, after asking."""
    client = open_client(args)
    found = named_runs(client, args.runs)
    _check_ended(found)
    effects = [] if args.yes else _effects(client, found)
    what = f"{len(found)} runs" if len(found) > 1 else f"run {found[0].run_id}"
    if not confirm(args, f"Remove {what}, with logs, outputs and files on hosts?", effects):
        return DECLINED

    def remove(run_id: str) -> None:
        client.remove(run_id)
        if not args.quiet:
            out(f"{run_id}: removed")

    return each([str(r.run_id) for r in found], remove)


def _effects(client: Client, runs: list[RunDetail]) -> list[str]:
    """What is removed, and which of it is not fetched. Raises ConflictError if a user keeps a run:
    then no run is removed."""
    lines = []
    for run in runs:
        kept = client.kept(run.run_id)
        if kept.by is not None:
            raise ConflictError(
                f"run {run.run_id} is kept by {kept.by}",
                remedy=f"Release it first: hostler keep {run.run_id} --forget",
            )
        lines.append(f"{run.run_id} {run.pipeline} by {run.owner}: {run.state}")
        lines += loss_lines(kept)
    return lines


def _check_ended(runs: list[RunDetail]) -> None:
    """Raise ConflictError if a run has not ended: then no run is removed."""
    going_on = [run.run_id for run in runs if run.outcome is None]
    if going_on:
        raise ConflictError(
            f"{', '.join(going_on)} {'have' if going_on[1:] else 'has'} not ended",
            remedy=f"Cancel first: hostler cancel {' '.join(going_on)}",
        )
