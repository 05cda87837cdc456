"""`hostler host clean HOST`: lists unneeded files there, asks and removes them; which kinds are
named singly, and how many."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from hostler.base.errors import InputError
from hostler.base.units import format_size
from hostler.cli.shared import DECLINED, confirm, note_for, open_client, out, out_json

if TYPE_CHECKING:
    from hostler.model.views.hosts import Cleanable, CleanView

_PATIENCE_S = 900.0
_MOST_NAMED = 3
_NAMED = ("kept folder", "ended container or job")
"""Kinds whose names users know."""


def run(args: argparse.Namespace) -> int:
    """List, show, ask, remove."""
    if len(args.hosts) != 1:
        raise InputError("hostler host clean takes one host", remedy="run it once for each host")
    client = open_client(args)
    client.timeout = max(client.timeout, _PATIENCE_S)
    host, request = args.hosts[0], {"checkpoints": args.checkpoints, "kept": args.kept}
    found = client.clean_host(host, dry_run=True, **request)
    if not args.dry_run and found.found:
        if not confirm(args, f"Remove this from {host}?", lines(found)):
            return DECLINED
        found = client.clean_host(host, shown_at=found.at, **request)
    if args.json:
        out_json("host.clean", replace(found, dry_run=args.dry_run))
        return 0
    said = lines(found)
    if not args.quiet:
        verb = "would be removed" if args.dry_run else "removed"
        for line in said:
            out(f"{host}: {line} {verb}")
        if not said:
            out(f"{host}: nothing to remove")
    for why in found.stays:
        note_for(args)(f"{host}: {why}")
    return 0


def lines(found: CleanView) -> list[str]:
    """One line per kind of file."""
    return [_line(each) for each in found.found]


def _line(each: Cleanable) -> str:
    count, what = each.count, each.what
    many = what if count == 1 else _several(what)
    size = f" ({format_size(each.bytes)})" if each.bytes else ""
    names = list(each.names) if what in _NAMED else []
    more = f" and {count - _MOST_NAMED} more" if count > _MOST_NAMED else ""
    named = f": {', '.join(names[:_MOST_NAMED])}{more}" if names else ""
    return f"{count} {many}{size}{named}"


def _several(what: str) -> str:
    return {
        "notes of an ended run": "notes of ended runs",
        "ended container or job": "ended containers and jobs",
        "blob": "cached blobs",
        "venv": "virtual environments",
        "agent": "agents of other versions",
    }.get(what, f"{what}s")
