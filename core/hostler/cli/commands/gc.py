"""`hostler gc`: free disk space of what nothing needs any more."""

from __future__ import annotations

import argparse
from typing import Any

from hostler.cli.options import add_common, add_yes
from hostler.cli.shared import DECLINED, confirm, open_client, out, out_json
from hostler.units import format_size


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="only tell what would be freed"
    )
    add_yes(parser)
    add_common(parser, json_output=True)


def run(args: argparse.Namespace) -> int:
    """Tell what would go, ask, and free it."""
    client = open_client(args)
    would = client.gc(dry_run=True)
    if not args.dry_run:
        if not confirm(args, "Free this?", gc_lines(would, "would be freed")):
            return DECLINED
        would = client.gc()
    if args.json:
        out_json("gc", {"dry_run": args.dry_run, **would})
    elif not args.quiet:
        for line in gc_lines(would, "would be freed" if args.dry_run else "freed"):
            out(line)
    return 0


def gc_lines(answer: dict[str, Any], verb: str) -> list[str]:
    """A line for each kind of thing in the daemon's answer; sizes as people write them."""
    lines = []
    for name, value in answer.items():
        words = name.replace("_", " ")
        if isinstance(value, (list, dict)):
            lines.append(f"{words} {verb}: {len(value)}")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            is_size = any(word in name for word in ("bytes", "freed", "size"))
            shown = format_size(value) if is_size else str(value)
            lines.append(f"{words} {verb}: {shown}" if words != "freed" else f"{verb}: {shown}")
    return lines or [f"nothing {verb}"]
