"""`hostler events`: what happened."""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any

from hostler.cli.kinds import limit, natural, run_name
from hostler.cli.options import add_common
from hostler.cli.render import exact_time, paint_status
from hostler.cli.shared import open_client
from hostler.quick.table import is_terminal, wants_color
from hostler.text import clean


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--run", type=run_name, metavar="RUN", help="only events of this run")
    parser.add_argument(
        "--after", type=natural, metavar="N", help="events after number N (default: the latest)"
    )
    parser.add_argument(
        "--limit", type=limit, default=1000, metavar="N", help="at most N events (default 1000)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens")
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """Print events, a line each; as JSON lines with --json."""
    client = open_client(args)
    if args.run:
        lines = client.run_events(args.run, after=args.after, follow=args.follow)
    else:
        lines = client.events(after=args.after, limit=args.limit, follow=args.follow)
    events: Iterable[dict[str, Any]] = (line["event"] for line in lines if line and "event" in line)
    if args.run and not args.follow:  # of a run the daemon gives all
        events = deque(events, args.limit) if args.after is None else islice(events, args.limit)
    color = wants_color(args.color)
    for event in events:
        sys.stdout.write(_json_line(event) if args.json else event_line(event, color=color))
        sys.stdout.flush()
    return 0


def _json_line(event: dict[str, Any]) -> str:
    return json.dumps({"schema": "hostler.event/1", **event}, separators=(",", ":")) + "\n"


def event_line(event: dict[str, Any], *, color: bool) -> str:
    """ "2026-11-24T12:04:31+00:00  warning  host.lost  gpu1 does not answer"."""
    severity = str(event.get("severity", "info"))
    parts = [exact_time(event["at"]), severity, str(event["kind"]), clean(str(event["message"]))]
    if not is_terminal() and not color:
        return "\t".join(clean(part) for part in parts) + "\n"
    shown = f"{severity:<7}"
    shown = paint_status(shown) if color else shown
    return f"{parts[0]}  {shown}  {clean(parts[2]):<20}  {parts[3]}\n"
