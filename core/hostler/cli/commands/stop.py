"""`hostler stop NAME...`: stop services, after a question."""

from __future__ import annotations

import argparse

from hostler.cli.shared import DECLINED, add_common, add_yes, confirm, each, open_client, out


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("services", metavar="NAME", nargs="+", help="services, by name or RUN.NAME")
    add_yes(parser)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Stop them, after asking."""
    client = open_client(args)
    names = list(dict.fromkeys(args.services))
    asked = set(names)
    effects = [
        f"{one.name} of run {one.run_id}: {one.ready} of {one.wanted} replicas are ready"
        for one in client.services()
        if asked & {one.name, one.run_id, f"{one.run_id}.{one.name}"}
    ]
    what = names[0] if len(names) == 1 else f"{len(names)} services"
    if not confirm(args, f"Stop {what}?", effects):
        return DECLINED

    def stop(name: str) -> None:
        found = client.stop(name)
        if not args.quiet:
            out(f"{found.name}: stopping")

    return each(names, stop)
