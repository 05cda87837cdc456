"""`hostler keep RUN...`: keep a run and all its files, indefinitely or --until a date, or
release it with --forget."""

from __future__ import annotations

import argparse

from hostler.cli.options import moment, run_name
from hostler.cli.shared import add_common, each, named_runs, open_client, out, out_json
from hostler.show.kept import kept_line, staying_lines


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("runs", type=run_name, nargs="+", metavar="RUN", help="runs, by id; `last`")
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument(
        "--until", type=moment, metavar="DATE",
        help="keep until a date (2026-12-24) or for a time (30d); default: indefinitely",
    )  # fmt: skip
    ends.add_argument(
        "--forget", action="store_true", help="release the runs: the usual limits apply again"
    )
    add_common(parser, json_output=True)


def run(args: argparse.Namespace) -> int:
    """Keep the files, and show what is kept."""
    client = open_client(args)
    found = named_runs(client, args.runs)

    def keep(run_id: str) -> None:
        kept = client.unkeep(run_id) if args.forget else client.keep(run_id, args.until)
        if args.json:
            out_json("kept", kept)
        elif not args.quiet:
            out(kept_line(kept))
            for line in staying_lines(kept) if args.forget else ():
                out(line)

    return each([r.run_id for r in found], keep)
