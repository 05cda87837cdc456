"""`hostler doctor [HOST...]`: check hosts and this machine, and say how to mend them."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

from hostler.cli.checks import Check, check_host, check_local, counts, worst_first
from hostler.cli.configured import configured_or_named
from hostler.cli.options import add_common
from hostler.cli.render import paint_status
from hostler.cli.shared import out_json
from hostler.link.factory import Doors
from hostler.model.config import HostConfig
from hostler.quick.table import pad, wants_color
from hostler.text import clean
from hostler.units import format_duration

CHECK_FAILED = 3


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "hosts", nargs="*", metavar="HOST", help="hosts, also new ones; ranges (default: all)"
    )
    parser.add_argument(
        "--only", metavar="CHECK", help="only this check and those it needs, like host.ssh"
    )
    add_common(parser, json_output=True)


def run(args: argparse.Namespace) -> int:
    """Run all checks at once; exit 3 if any failed."""
    begun = time.monotonic()
    local, usable = check_local(args.socket)
    found = list(local)
    if usable:
        found += asyncio.run(_check_all(configured_or_named(args.hosts)))
    if args.only:
        found = [check for check in found if check.name.startswith(args.only)]
    spent = time.monotonic() - begun
    if args.json:
        _print_json(found, spent)
    else:
        _print(args, found, spent)
    return CHECK_FAILED if any(check.state == "fail" for check in found) else 0


async def _check_all(hosts: Sequence[HostConfig]) -> list[Check]:
    doors = Doors()
    results = await asyncio.gather(*(check_host(host, doors) for host in hosts))
    return [check for checks in results for check in checks]


def _print_json(found: Sequence[Check], spent: float) -> None:
    members: dict[str, Any] = {
        "seconds": round(spent, 2),
        "counts": counts(found),
        "checks": [check.to_json() for check in found],
    }
    out_json("doctor", members)


def _print(args: argparse.Namespace, found: Sequence[Check], spent: float) -> None:
    color = wants_color(args.color)
    for check in worst_first(found):
        if args.quiet and check.state == "ok":
            continue
        for line in check_lines(check, color=color):
            sys.stdout.write(line + "\n")
    sys.stdout.write(f"{total_line(counts(found))} in {format_duration(round(spent, 1))}\n")


def total_line(total: dict[str, int]) -> str:
    """ "1 failed, 2 warnings, 14 ok"."""
    warnings = "warning" if total["warn"] == 1 else "warnings"
    words = (("fail", "failed"), ("warn", warnings), ("ok", "ok"), ("skip", "skipped"))
    return ", ".join(f"{total[state]} {word}" for state, word in words if total[state])


def check_lines(check: Check, *, color: bool) -> list[str]:
    """A check as it is shown, with what to do below it where it is not well."""
    word = "FAIL" if check.state == "fail" else check.state
    shown = pad(word, 4)
    shown = paint_status(shown) if color else shown
    about = f"{check.host}: {check.message}" if check.host else check.message
    lines = [f"{shown}  {pad(clean(check.name), 18)}  {clean(about)}"]
    if check.remedy and check.state in ("fail", "warn"):
        lines.append(f"      fix: {clean(check.remedy)}")
    return lines
