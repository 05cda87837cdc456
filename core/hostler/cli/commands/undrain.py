"""`hostler undrain HOST...`: place work on hosts again, also after start failures."""

from __future__ import annotations

import argparse

from hostler.cli.shared import add_common, each, open_client, out


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("hosts", nargs="+", metavar="HOST", help="hosts, by name")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Undrain."""
    client = open_client(args)
    names = [client.host(host).name for host in args.hosts]  # all, before any is changed

    def undrain(host: str) -> None:
        client.undrain(host)
        if not args.quiet:
            out(f"{host}: accepts work again")

    return each(names, undrain)
