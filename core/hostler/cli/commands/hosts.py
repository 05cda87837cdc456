"""`hostler hosts`: the columns of the list of hosts, and how long it waits for hosts of a daemon
that has just started."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from hostler.base.errors import NotFoundError
from hostler.base.table import Column
from hostler.cli.shared import add_common, open_client, out_json, out_table
from hostler.quick.socket import heard
from hostler.show.fleet import host_matches
from hostler.show.runs import paint_status

if TYPE_CHECKING:
    from hostler.model.hosts import Host

COLUMNS = (
    Column("HOST", flex=True, least=10),
    Column("STATE", paint=paint_status),
    Column("AGE", right=True),
    Column("GPUS", right=True),
    Column("CPUS", right=True),
    Column("RAM", right=True),
    Column("LOAD", right=True),
    Column("DISK FREE", right=True),
    Column("DRIVER"),
    Column("DOCKER"),
    Column("NOTE", flex=True, least=16),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("hosts", nargs="*", metavar="HOST", help="only these hosts; names or globs")
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """List hosts."""
    found = heard(open_client(args).hosts, _is_new)
    names = [host.name for host in found]
    for pattern in args.hosts:
        if not any(host_matches(name, [pattern]) for name in names):
            known = f"Known hosts: {', '.join(names[:20])}"
            raise NotFoundError(f"there is no host {pattern!r}", remedy=known)
    chosen = [host for host in found if host_matches(host.name, args.hosts)]
    if args.json:
        out_json("hosts", {"at": time.time(), "hosts": chosen})
        return 0
    from hostler.show.hosts import host_row  # with the model of hosts

    out_table(args, COLUMNS, [host_row(host, time.time()) for host in chosen])
    return 0


def _is_new(found: tuple[Host, ...]) -> bool:
    return any(host.condition == "connecting" for host in found)
