"""`hostler ls RUN/STAGE`: the contents of a stage's working folder, also while the stage runs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hostler.base.dates import clock_text, exact_time
from hostler.base.table import Column, is_terminal
from hostler.base.units import format_size
from hostler.cli.commands.logs import choose_stage
from hostler.cli.options import run_and_stage
from hostler.cli.shared import add_common, note_for, open_client, out_json, out_table

if TYPE_CHECKING:
    from hostler.model.files import FileEntry

INTERMIXED = True
_COLUMNS = (Column("NAME", flex=True, least=20), Column("SIZE", right=True), Column("CHANGED"))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "run",
        type=run_and_stage,
        metavar="RUN[/STAGE]",
        help="a run's id, or its beginning; `last`",
    )
    parser.add_argument(
        "path", nargs="?", default="", metavar="PATH", help="a folder in the stage's working folder"
    )
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """List a folder."""
    client = open_client(args)
    found = client.show(args.run[0])
    stage = choose_stage("ls", found, args.run[1])
    view = client.list_folder(found.run_id, stage.name, args.path)
    if args.json:
        out_json("ls", view)
        return 0
    out_table(args, _COLUMNS, [_row(entry) for entry in view.entries])
    if view.truncated:
        note_for(args)("the list is not complete: name a subfolder")
    return 0


def _row(entry: FileEntry) -> tuple[str, ...]:
    from hostler.packing.tar import MTIME  # with all that packs

    kind = entry.kind
    name = entry.path + {"folder": "/", "link": "@"}.get(kind, "")
    size = format_size(entry.size) if kind == "file" or entry.size else "-"
    written = entry.mtime if entry.mtime not in (0, MTIME) else None
    return name, size, clock_text(written) if is_terminal() else exact_time(written)
