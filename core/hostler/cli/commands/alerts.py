"""`hostler alerts`: list, acknowledge and unacknowledge alerts; its columns, colours and default
--limit."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from hostler.base.dates import clock_text, exact_time
from hostler.base.errors import InputError
from hostler.base.table import (
    Column,
    cell_width,
    is_terminal,
    render_table,
    style,
    terminal_width,
    wants_color,
)
from hostler.base.text import clean
from hostler.cli.options import count, limit
from hostler.cli.shared import add_common, broken, each, hint, open_client, out, out_json, out_table

if TYPE_CHECKING:
    from hostler.model.views.alerts import AlertView

_STYLES = {"critical": "red", "warning": "yellow", "info": "dim"}


def _paint(text: str) -> str:
    name = _STYLES.get(text.strip())
    return style(text, name) if name else text


COLUMNS = (
    Column("ID", right=True),
    Column("SEVERITY", paint=_paint),
    Column("LAST"),
    Column("TIMES", right=True),
    Column("WHERE", flex=True, least=8),
    Column("STATE", flex=True, least=8),
    Column("WHAT"),
    Column("TRY"),
)
_TOLD_BELOW = 2
"""The last columns, if the terminal is too narrow for all of them."""
_INDENT = 6
_NO_REMEDY = "-"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "action", nargs="?", choices=("ack", "unack"),
        help="acknowledge alerts, or undo that",
    )  # fmt: skip
    parser.add_argument("ids", nargs="*", metavar="ID", type=count, help="alerts, by number")
    parser.add_argument(
        "--open", action="store_true", help="only open alerts: not resolved, not acknowledged"
    )
    parser.add_argument(
        "--limit", type=limit, default=200, metavar="N", help="at most N alerts (default 200)"
    )
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """List alerts, or acknowledge them."""
    if args.action:
        return _note(args)
    found = open_client(args).alerts(args.open, args.limit)
    if args.json:
        out_json("alerts", found)
    elif args.quiet:
        for alert in found.alerts:
            out(str(alert.id))
    elif found.alerts:
        terminal = is_terminal()
        rows = [_row(alert, piped=not terminal) for alert in found.alerts]
        if terminal:
            sys.stdout.write(_on_terminal(rows, terminal_width(), color=wants_color(args.color)))
        else:
            out_table(args, COLUMNS, rows)
    else:
        hint(args, "no alerts")
    return 0


def _on_terminal(rows: list[list[str]], width: int, *, color: bool) -> str:
    """A table; where it is too wide, what happened and what to try follow below each row, broken
    between words: neither is of use when it is cut."""
    whole = render_table(COLUMNS, rows, color=False)
    if max(map(cell_width, whole.splitlines())) <= width:
        return render_table(COLUMNS, rows, color=color)
    short = [row[:-_TOLD_BELOW] for row in rows]
    table = render_table(COLUMNS[:-_TOLD_BELOW], short, width=width, color=color)
    head, *lines = table.splitlines()
    told = [head]
    for line, (*_, what, remedy) in zip(lines, rows, strict=True):
        told += [line, *_below(what, width)]
        told += [] if remedy == _NO_REMEDY else _below(f"try: {remedy}", width)
    return "\n".join(told) + "\n"


def _below(text: str, width: int) -> list[str]:
    return [" " * _INDENT + line for line in broken(clean(text), width, _INDENT)]


def _note(args: argparse.Namespace) -> int:
    if not args.ids:
        raise InputError(
            "no alert is named",
            remedy=f"Name them by number, like hostler alerts {args.action} 12; "
            "hostler alerts lists them",
        )
    client = open_client(args)
    change = client.acknowledge if args.action == "ack" else client.unacknowledge

    def note(alert_id: str) -> None:
        alert = change(int(alert_id))
        if not args.quiet:
            out(f"{alert.id}: {_state(alert)}")

    return each([str(alert_id) for alert_id in args.ids], note)


def _row(alert: AlertView, *, piped: bool) -> list[str]:
    last = alert.last_at
    return [
        str(alert.id),
        str(alert.severity),
        exact_time(last) if piped else clock_text(last),
        str(alert.count),
        str(alert.where),
        _state(alert),
        str(alert.what),
        str(alert.remedy or _NO_REMEDY),
    ]


def _state(alert: AlertView) -> str:
    if alert.resolved_at is not None:
        return "resolved"
    by = alert.acknowledged_by
    return f"seen by {by}" if by else "open"
