"""`hostler hosts`: the machines, and what is wrong with them."""

from __future__ import annotations

import argparse
import time
from typing import Any

from hostler.base.errors import NotFoundError
from hostler.base.table import Column
from hostler.base.units import format_duration, format_size
from hostler.cli.options import add_common
from hostler.cli.render import paint_status
from hostler.cli.shared import open_client, out_json, out_table
from hostler.client import Client
from hostler.quick.fleet import host_matches

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

_PATIENCE = 3.0
"""Seconds that hosts get to answer a daemon that has just started."""
_POLL = 0.1


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("hosts", nargs="*", metavar="HOST", help="only these; names or globs")
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """List hosts."""
    found = heard(open_client(args))
    names = [str(host["name"]) for host in found]
    for pattern in args.hosts:
        if not any(host_matches(name, [pattern]) for name in names):
            known = f"Known hosts: {', '.join(names[:20])}"
            raise NotFoundError(f"there is no host {pattern!r}", remedy=known)
    chosen = [host for host in found if host_matches(host["name"], args.hosts)]
    if args.json:
        out_json("hosts", {"at": time.time(), "hosts": chosen})
        return 0
    out_table(args, COLUMNS, [host_row(host, time.time()) for host in chosen])
    return 0


def heard(client: Client) -> list[dict[str, Any]]:
    """All hosts; of a daemon that has just started, once each has answered or failed."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        found = client.hosts()
        is_new = any(host["condition"] == "connecting" for host in found)
        if not is_new or time.monotonic() > deadline:
            return found
        time.sleep(_POLL)


def host_row(host: dict[str, Any], now: float) -> list[str]:
    """A row from a Host of the model."""
    look, facts = host.get("look"), host.get("facts") or {}
    machine = (look or {}).get("machine") or {}
    disks = machine.get("disks") or ()
    return [
        str(host["name"]),
        str(host["condition"]),
        format_duration(max(0, round(now - look["asked_at"]))) if look else "-",
        str(len(look["gpus"])) if look else "-",
        str(facts.get("cpus") or "-"),
        format_size(machine.get("memory_total") or facts.get("memory_total")),
        f"{machine['load1']:.1f}" if machine.get("load1") is not None else "-",
        format_size(min(disk["free"] for disk in disks)) if disks else "-",
        str(facts.get("driver") or "-"),
        str(facts.get("docker") or "-"),
        host_note(host, now),
    ]


_PROBLEMS = ("gpu_problem", "docker_problem", "lease_problem", "left_out")


def host_note(host: dict[str, Any], now: float) -> str:
    """What is wrong or special, the most important first."""
    notes = []
    if host.get("problem"):
        notes.append(str(host["problem"]))
    if host["condition"] in ("unreachable", "refused"):
        notes.append(f"for {format_duration(max(0, int(now - host['since'])))}")
    if host.get("drained") is not None:
        notes.append(f"drained: {host['drained']}" if host["drained"] else "drained")
    look = host.get("look") or {}
    notes += [str(look[key]) for key in _PROBLEMS if look.get(key)]
    return "; ".join(notes) or "-"
