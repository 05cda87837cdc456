"""`hostler doctor [HOST...]`: which checks run (--only), how results and remedies are printed
and grouped, exit code 3; the checks are in cli/checks.py."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

from hostler.base.errors import InputError
from hostler.base.json_types import JsonTable
from hostler.base.table import is_terminal, pad, terminal_width, wants_color
from hostler.base.text import clean
from hostler.base.units import format_duration
from hostler.cli.checks import NAMES, check_host, check_local, counts, worst_first
from hostler.cli.configured import configured_or_named
from hostler.cli.shared import add_common, broken, out_json
from hostler.daemon.config_file import load_config
from hostler.link.factory import Doors, ssh_settings
from hostler.model.check import Check
from hostler.model.config import Config, HostConfig
from hostler.show.runs import paint_status

CHECK_FAILED = 3
_FIRST = ("host.ssh", "host.local", "host.agent", "host.checks")
"""If one of these fails, no other check of the host is made."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "hosts", nargs="*", metavar="HOST", help="hosts, also new ones; ranges (default: all)"
    )
    parser.add_argument(
        "--only",
        metavar="CHECK",
        help="only this check, like host.docker, and the failed check that blocked it",
    )  # fmt: skip
    add_common(parser, json_output=True)


def run(args: argparse.Namespace) -> int:
    """Run all checks at once; exit 3 if any failed."""
    if args.only:
        check_name(args.only)
    begun = time.monotonic()
    local, usable = check_local(args.socket)
    found = list(local)
    if usable:
        found += asyncio.run(_check_all(configured_or_named(args.hosts)))
    if args.only:
        found = only(found, args.only)
    spent = time.monotonic() - begun
    if args.json:
        _print_json(found, spent)
    else:
        _print(args, found, spent)
    return CHECK_FAILED if any(check.state == "fail" for check in found) else 0


async def _check_all(hosts: Sequence[HostConfig]) -> list[Check]:
    config = load_config()
    doors = Doors(ssh_settings(config.daemon))
    patience = config.daemon.connect_timeout
    results = await asyncio.gather(
        *(
            check_host(host, doors, config.mounts, patience, _with_gateway(config, host))
            for host in hosts
        )
    )
    return [check for checks in results for check in checks]


def _with_gateway(config: Config, host: HostConfig) -> Config | None:
    return config if host.name == config.gateway.host else None


def check_name(name: str) -> None:
    """Raise InputError for an unknown check, before any host is asked."""
    if not any(known == name or known.startswith(f"{name}.") for known in NAMES):
        raise InputError(
            f"there is no check {name!r}", remedy=f"The checks are: {', '.join(NAMES)}"
        )


def only(found: Sequence[Check], name: str) -> list[Check]:
    """The checks of a name ("host" and "local" stand for all that begin so), and those before it
    that failed, since it was not made then."""
    wanted = [c for c in found if c.name == name or c.name.startswith(f"{name}.")]
    asked = {c.host for c in wanted}
    broken = [
        c for c in found if c.state == "fail" and c.name in _FIRST and c.host not in asked
    ] if name.startswith("host") else []  # fmt: skip
    return [c for c in found if c in wanted or c in broken]


def _print_json(found: Sequence[Check], spent: float) -> None:
    members: JsonTable = {
        "seconds": round(spent, 2),
        "counts": {**counts(found)},
        "checks": [asdict(check) for check in found],
    }
    out_json("doctor", members)


def _print(args: argparse.Namespace, found: Sequence[Check], spent: float) -> None:
    color = wants_color(args.color)
    width = terminal_width() if is_terminal() else None
    shown = [c for c in found if not (args.quiet and c.state == "ok")]
    shown = equal_folded(shown)
    if width is not None and len({c.host for c in found if c.host}) > 1:
        shown = well_folded(shown)
    for check in worst_first(shown):
        for line in check_lines(check, color=color, width=width):
            sys.stdout.write(line + "\n")
    sys.stdout.write(f"{total_line(counts(found))} in {format_duration(round(spent, 1))}\n")


def equal_folded(found: Sequence[Check]) -> list[Check]:
    """The checks; checks that failed with the same words on several hosts become one."""
    alike: dict[Check, list[str]] = {}
    for check in found:
        if check.host is not None and check.state != "ok":
            alike.setdefault(replace(check, host=None), []).append(check.host)
    shown: list[Check] = []
    for check in found:
        hosts = list(dict.fromkeys(alike.get(replace(check, host=None), ())))
        if check.host is None or check.state == "ok" or len(hosts) < 2:
            shown.append(check)
        elif check.host == hosts[0]:
            shown.append(replace(check, host=f"on {', '.join(hosts)}"))
    return list(dict.fromkeys(shown))


def well_folded(found: Sequence[Check]) -> list[Check]:
    """The checks; all successful checks of a host become one, after its failures and warnings."""
    shown: list[Check] = [c for c in found if c.host is None or c.state != "ok"]
    well: dict[str, list[str]] = {}
    for check in found:
        if check.host is not None and check.state == "ok":
            well.setdefault(check.host, []).append(check.name.partition(".")[2])
    for host, names in well.items():
        listed = ", ".join(dict.fromkeys(names))
        shown.append(Check("host", "ok", listed, host=host))
    order = {host: n for n, host in enumerate(dict.fromkeys(c.host for c in found))}
    return sorted(shown, key=lambda c: order[c.host])


def total_line(total: dict[str, int]) -> str:
    """ "1 failed, 2 warnings, 14 ok"."""
    warnings = "warning" if total["warn"] == 1 else "warnings"
    words = (("fail", "failed"), ("warn", warnings), ("ok", "ok"), ("skip", "skipped"))
    return ", ".join(f"{total[state]} {word}" for state, word in words if total[state])


def check_lines(check: Check, *, color: bool, width: int | None = None) -> list[str]:
    """The lines of a check, with the remedy below it if it failed. `width`: lines are wrapped
    between words, with an indent."""
    word = "FAIL" if check.state == "fail" else check.state
    state = pad(word, 4)
    state = paint_status(state) if color else state
    name = pad(clean(check.name), 18)
    about = f"{check.host}: {check.message}" if check.host else check.message
    first, *more = broken(clean(about), width, 26)
    lines = [f"{state}  {name}  {first}", *(" " * 26 + line for line in more)]
    if check.remedy and check.state in ("fail", "warn"):
        first, *more = broken(clean(check.remedy), width, 11)
        lines += [f"      fix: {first}", *(" " * 11 + line for line in more)]
    return lines
