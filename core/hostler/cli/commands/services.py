"""`hostler services`: columns of services and replicas, addresses, and the hints how to reach
one by an SSH tunnel or start a stopped one again."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from hostler.base.errors import NotFoundError
from hostler.base.table import Column
from hostler.base.units import format_duration
from hostler.cli.shared import add_common, hint, open_client, out_json, out_table
from hostler.show.runs import paint_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hostler.model.views.services import ReplicaView, ServiceView

COLUMNS: tuple[Column, ...] = (
    Column("SERVICE", flex=True, least=10),
    Column("RUN"),
    Column("STATE", paint=paint_status),
    Column("READY", right=True),
    Column("ADDRESS"),
    Column("SINCE", right=True),
    Column("RESTARTS", right=True),
    Column("LAST ERROR", flex=True, least=16),
)
_LOOPBACK = "127.0.0.1"
_FIRST = 4
"""Columns before those of the gateway: on a narrow terminal the last ones are cut."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "services", nargs="*", metavar="NAME", help="only these services, by name, pipeline or run"
    )
    parser.add_argument(
        "-a", "--all", action="store_true",
        help="also services that were deployed and stopped, the last 100: these can be rolled back",
    )  # fmt: skip
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """List services: one line each, and one line per replica if a service has several."""
    found = open_client(args).services(stopped=args.all)
    for name in args.services:
        if not any(name in _names(one) for one in found):
            known = ", ".join(dict.fromkeys(one.called for one in found)) or "none"
            known += "" if args.all else ". Those that were stopped: hostler services --all"
            raise NotFoundError(f"there is no service {name!r}", remedy=f"Known services: {known}")
    wanted = set(args.services)
    chosen = [one for one in found if not wanted or wanted & _names(one)]
    if args.json:
        out_json("services", {"at": time.time(), "services": chosen})
    elif chosen:
        _show(args, chosen)
        _tell_published(args, chosen)
        for line in reach_lines(chosen):
            hint(args, line)
        if all(one.url is None for one in chosen):
            _tell_reach(args, chosen)
        _tell_stopped(args, chosen)
    else:
        hint(args, 'no service runs; a service is a stage with kind = "service" in a pipeline file')
        if not args.all:
            hint(args, "to include stopped deployed services: hostler services --all")
    return 0


def _names(service: ServiceView) -> set[str]:
    return {service.name, service.pipeline, service.run_id}


def _show(args: argparse.Namespace, chosen: Sequence[ServiceView]) -> None:
    """Show services, with columns for the gateway and for releases if there are any."""
    rows = list(_rows(chosen, time.time()))
    columns = COLUMNS
    if any(one.release is not None for one in chosen):
        numbers = {one.run_id: str(one.release or "-") for one in chosen}
        rows = [[*row[:2], numbers.get(row[1], ""), *row[2:]] for row in rows]
        columns = (*COLUMNS[:2], Column("RELEASE", right=True), *COLUMNS[2:])
    if all(one.url is None and one.no_url is None for one in chosen):
        out_table(args, columns, rows)
        return
    from hostler.show.traffic import NOW, cells_now

    more = {(one.called, one.run_id): [one.url or "-", *cells_now(one.traffic)] for one in chosen}
    none = [""] * (len(NOW) + 1)
    first = _FIRST + len(columns) - len(COLUMNS)
    wide = [[*row[:first], *more.get((row[0], row[1]), none), *row[first:]] for row in rows]
    out_table(args, (*columns[:first], Column("URL"), *NOW, *columns[first:]), wide)
    for one in chosen:
        if one.no_url is not None:
            hint(args, f"the gateway does not serve {one.called}: {one.no_url}")


def _rows(services: Iterable[ServiceView], now: float) -> Iterable[list[str]]:
    for one in services:
        single = one.replicas[0] if len(one.replicas) == 1 else None
        address = _address(single) if single is not None else "-"
        count = "-" if one.state == "stopped" else f"{one.ready}/{one.wanted}"
        since = format_duration(max(0.0, now - one.since))
        error = one.stopped or one.error or "-"
        yield [
            one.called, one.run_id, one.state, count, address, since, str(one.restarts),
            error,
        ]  # fmt: skip
        for replica in one.replicas if single is None else ():
            yield _row(replica, now)


def _row(replica: ReplicaView, now: float) -> list[str]:
    since = "-" if replica.since is None else format_duration(max(0.0, now - replica.since))
    return [
        f"  {replica.name}", "", replica.state, "", _address(replica), since,
        str(replica.restarts), replica.error or "-",
    ]  # fmt: skip


def _address(replica: ReplicaView) -> str:
    if replica.host is None:
        return "-"
    return (
        replica.host
        if replica.port is None
        else f"{replica.address or replica.host}:{replica.port}"
    )


def _tell_published(args: argparse.Namespace, services: Iterable[ServiceView]) -> None:
    """Note replicas that can be reached without the gateway and its tokens."""
    for one in services:
        found = [r for r in one.replicas if r.address is not None and r.port is not None]
        where = ", ".join(f"{each.address}:{each.port}" for each in found)
        if found:
            hint(
                args, f"all machines of the network reach {one.called} at {where}, without a token"
            )


def reach_lines(services: Iterable[ServiceView]) -> list[str]:
    """How to reach from elsewhere what a gateway serves at the loopback of its host alone: by a
    tunnel to each of its ports, and with the names of services."""
    ports: dict[int, str] = {}
    names: dict[str, None] = {}
    for one in services:
        if one.url is not None and one.url_on is not None:
            name, _, port = one.url.split("/")[2].rpartition(":")
            ports[int(port)] = one.url_on
            if name != _LOOPBACK:
                names[name] = None
    lines = []
    for host in dict.fromkeys(ports.values()):
        tunnels = " ".join(f"-L {p}:{_LOOPBACK}:{p}" for p, at in ports.items() if at == host)
        lines.append(
            f"the gateway is on {_LOOPBACK} of {host}; from elsewhere: ssh {tunnels} {host}"
        )
    if names:
        lines.append(f"there, map these names to {_LOOPBACK} in /etc/hosts: {' '.join(names)}")
    return lines


def _tell_stopped(args: argparse.Namespace, services: Iterable[ServiceView]) -> None:
    """How the first stopped service can serve again."""
    name = next((one.called for one in services if one.state == "stopped"), None)
    if name is not None:
        hint(
            args,
            f"start a stopped service again: hostler releases {name}; hostler rollback {name} N",
        )


def _tell_reach(args: argparse.Namespace, services: Iterable[ServiceView]) -> None:
    """Ports are on the loopback of their hosts: show how to reach a port from another machine."""
    for one in services:
        for replica in one.replicas:
            if replica.state == "ready" and replica.port is not None and not replica.address:
                port, host = replica.port, replica.host
                hint(
                    args,
                    f"ports are on 127.0.0.1 of each host: ssh -L 8000:127.0.0.1:{port} {host}",
                )
                return
