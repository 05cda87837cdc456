"""`hostler drain HOST...`: stop placing work on hosts, with a reason; running work continues."""

from __future__ import annotations

import argparse

from hostler.cli.shared import add_common, each, open_client, out


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("hosts", nargs="+", metavar="HOST", help="hosts, by name")
    parser.add_argument(
        "--reason", default="", metavar="TEXT", help="the reason, shown to all users"
    )
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Drain; work that runs on the hosts continues."""
    client = open_client(args)
    names = [client.host(host).name for host in args.hosts]  # all, before any is changed

    def drain(host: str) -> None:
        client.drain(host, args.reason)
        if not args.quiet:
            out(f"{host}: drained; running work continues")

    return each(names, drain)
