"""`hostler releases SERVICE`: the columns of the list of releases, or what differs between two
of them."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from hostler.base.table import Column
from hostler.base.units import format_age
from hostler.cli.options import natural
from hostler.cli.shared import add_common, open_client, out, out_json, out_table
from hostler.show.runs import paint_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostler.model.views.services import ReleaseView

COLUMNS = (
    Column("RELEASE", right=True),
    Column("STATE", paint=paint_status),
    Column("RUN"),
    Column("BY"),
    Column("AGE", right=True),
    Column("HOW"),
    Column("REASON", flex=True, least=16),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("service", metavar="SERVICE", help="name of its pipeline")
    parser.add_argument(
        "--diff", nargs=2, type=natural, metavar=("OLD", "NEW"),
        help="show what differs between two releases",
    )  # fmt: skip
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """List them, the newest first."""
    if args.diff is not None:
        return _show_changes(args)
    found = open_client(args).releases(args.service)
    if args.json:
        out_json("releases", {"at": time.time(), "releases": found})
    else:
        _show(args, found)
    return 0


def _show_changes(args: argparse.Namespace) -> int:
    old, new = args.diff
    found = open_client(args).release_changes(args.service, new, old)
    if args.json:
        out_json("release-changes", found)
        return 0
    for line in found.changes or ("nothing differs",):
        out(line)
    return 0


def _show(args: argparse.Namespace, found: Sequence[ReleaseView]) -> None:
    """Show releases, with their requests if the gateway has counted any."""
    rows = [_row(release, time.time()) for release in found]
    if all(release.traffic is None for release in found):
        out_table(args, COLUMNS, rows)
        return
    from hostler.show.traffic import TOTAL, cells_total

    more = (cells_total(release.traffic) for release in found)
    told = [[*row[:-1], *cells, row[-1]] for row, cells in zip(rows, more, strict=True)]
    out_table(args, (*COLUMNS[:-1], *TOTAL, COLUMNS[-1]), told)


def _row(release: ReleaseView, now: float) -> list[str]:
    return [
        str(release.number), release.state, release.run_id, release.by,
        format_age(max(0.0, now - release.at)), release.strategy, release.reason or "-",
    ]  # fmt: skip
