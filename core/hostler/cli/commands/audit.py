"""`hostler audit`: calls to the daemon and their users, also refused ones; its columns, filters
and default --limit."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hostler.base.dates import clock_text, exact_time
from hostler.base.table import Column, is_terminal
from hostler.cli.options import limit, run_name, since
from hostler.cli.shared import add_common, hint, open_client, out_json, out_table

if TYPE_CHECKING:
    from hostler.model.calls import AuditEntry

COLUMNS = (Column("AT"), Column("USER"), Column("CALL"), Column("WHAT", flex=True, least=20))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--user", metavar="USER", help="only calls of this user")
    parser.add_argument(
        "--since",
        type=since,
        metavar="TIME",
        help="only calls after this time: 2h, 30d (ago), 2026-11-24",
    )
    parser.add_argument(
        "--call", metavar="NAME", help="only this call, like submit, cancel, drain or refused"
    )
    parser.add_argument("--run", type=run_name, metavar="RUN", help="only calls about this run")
    parser.add_argument(
        "--limit", type=limit, default=100, metavar="N", help="at most N calls (default 100)"
    )
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """List the calls, the newest first."""
    found = open_client(args).audit(
        user=args.user, since=args.since, call=args.call, run=args.run, limit=args.limit
    )
    if args.json:
        out_json("audit", found)
    elif found.entries:
        out_table(args, COLUMNS, [_row(entry) for entry in found.entries])
    else:
        hint(args, "no such calls")
    return 0


def _row(entry: AuditEntry) -> list[str]:
    at = clock_text(entry.at) if is_terminal() else exact_time(entry.at)
    return [at, str(entry.user), str(entry.call), what(entry)]


def what(entry: AuditEntry) -> str:
    """The subject of a call: "run r7f3a2k, pipeline digits", "cancel: run rx belongs to bo"."""
    about = entry.arguments
    if entry.call != "refused":
        given = {name: value for name, value in about.items() if _is_given(value)}
        told = (name if value is True else f"{name} {value}" for name, value in given.items())
        return ", ".join(told) or "-"
    often_told = about.get("times", 1)
    times = often_told if isinstance(often_told, int) else 1
    often = f" ({times:,} times that day)" if times > 1 else ""
    if about.get("with_others"):
        often = f" ({times:,} times that day, other users included)"
    return f"{about.get('call')}: {about.get('why')}{often}"


def _is_given(value: object) -> bool:
    return value is not None and value is not False and value != ""
