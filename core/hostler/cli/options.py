"""Options that many commands share."""

from __future__ import annotations

import argparse

from hostler.cli.kinds import patience
from hostler.quick.socket import DEFAULT_TIMEOUT


def add_common(
    parser: argparse.ArgumentParser,
    *,
    listing: bool = False,
    json_output: bool = False,
    timeout: bool = True,
) -> None:
    """The options that every command has; `listing` and `json_output` add --json.

    `timeout`: False where the command has a --timeout of its own.
    """
    group = parser.add_argument_group("common")
    if listing or json_output:
        group.add_argument("--json", action="store_true", help="whole objects as JSON")
    group.add_argument("-q", "--quiet", action="store_true", help="only the answer, no notes")
    group.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colours (default: on a terminal, unless NO_COLOR is set)",
    )
    group.add_argument("--socket", metavar="PATH", help="the daemon's socket")
    parser.set_defaults(read_timeout=DEFAULT_TIMEOUT)
    if timeout:
        group.add_argument(
            "--timeout",
            dest="read_timeout",
            type=patience,
            metavar="TIME",
            help="how long to wait for the daemon's answer (default 5s)",
        )
    group.add_argument("--debug", action="store_true", help="show a traceback on errors")


def add_yes(parser: argparse.ArgumentParser) -> None:
    """-y, for commands that ask first."""
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
