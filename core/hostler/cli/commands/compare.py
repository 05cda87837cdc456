"""`hostler compare RUN RUN...`: the table of runs side by side, without equal values unless
--all is given."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hostler.base.errors import InputError
from hostler.base.table import Column
from hostler.cli.options import run_name
from hostler.cli.shared import add_common, note_for, open_client, out_json, out_table
from hostler.show.compare import seems_different, value_text

if TYPE_CHECKING:
    from hostler.model.views.history import ComparedRow


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("runs", nargs="+", type=run_name, metavar="RUN", help="runs, by id; `last`")
    parser.add_argument("--all", action="store_true", help="also show equal values")
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """Print one column per run."""
    found = open_client(args).compare(args.runs)
    if args.json:
        out_json("compare", found)
        return 0
    columns = [Column("SECTION"), Column("NAME", flex=True, least=10)]
    columns += [Column(each.run_id, flex=True, least=8) for each in found.runs]
    if len({each.run_id for each in found.runs}) < 2 and not args.all:
        raise InputError(
            "compare needs at least two runs",
            remedy="Name another run, too, or add --all to see all values of this run",
        )
    rows = [_row(row) for row in found.rows if args.all or seems_different(row)]
    if rows:
        out_table(args, columns, rows)
    else:
        note_for(args)("no differences; --all also shows equal values")
    return 0


def _row(row: ComparedRow) -> list[str]:
    cells = [value_text(row.name, value) for value in row.values]
    if row.better is not None and seems_different(row):
        cells[row.better] += " *"
    return [row.section, row.name.removesuffix("_s"), *cells]
