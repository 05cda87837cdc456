"""`hostler scale NAME N`: its arguments and answer; changes how many replicas a service has (0
pauses a deployed one)."""

from __future__ import annotations

import argparse

from hostler.cli.shared import add_common, open_client, out


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("service", metavar="NAME", help="a service, by name or RUN.NAME")
    parser.add_argument(
        "replicas", metavar="N", type=int,
        help="number of replicas, 1 to 64; 0 pauses a service that was deployed",
    )  # fmt: skip
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Scale it."""
    found = open_client(args).scale(args.service, args.replicas)
    if not args.quiet:
        out(f"{found.name}: {found.wanted} wanted, {found.ready} ready")
    return 0
