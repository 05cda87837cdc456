"""`hostler events`: print or follow the list of events as lines or JSON; the default --limit."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from hostler.base.dates import exact_time
from hostler.base.table import is_terminal, wants_color
from hostler.base.text import clean
from hostler.cli.options import limit, natural, run_name
from hostler.cli.shared import add_common, open_client
from hostler.show.runs import paint_status

if TYPE_CHECKING:
    from hostler.client import Client
    from hostler.model.views.alerts import EventView, StreamLine


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--run", type=run_name, metavar="RUN", help="only events of this run")
    parser.add_argument("--host", metavar="HOST", help="only events of this host")
    parser.add_argument(
        "--after", type=natural, metavar="N", help="events after number N (default: the latest)"
    )
    parser.add_argument(
        "--limit", type=limit, default=1000, metavar="N", help="at most N events (default 1000)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="follow new events")
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """Print events, one per line; as JSON lines with --json."""
    client, color = open_client(args), wants_color(args.color)
    for event in _of_run(args, client) if args.run else _of_all(args, client):
        sys.stdout.write(_json_line(event) if args.json else event_line(event, color=color))
        sys.stdout.flush()
    return 0


def _of_all(args: argparse.Namespace, client: Client) -> Iterable[EventView]:
    return _events(
        client.events(after=args.after, limit=args.limit, follow=args.follow, host=args.host)
    )


def _of_run(args: argparse.Namespace, client: Client) -> Iterator[EventView]:
    """Events of a run: the daemon sends all of them; this keeps the latest and those that
    follow."""

    def fetched(after: int | None, *, follow: bool) -> Iterable[EventView]:
        found = _events(client.run_events(args.run, after=after, follow=follow))
        return (event for event in found if args.host in (None, event.host))

    known = fetched(args.after, follow=False)
    shown = deque(known, args.limit) if args.after is None else islice(known, args.limit)
    seen = args.after
    for event in shown:
        seen = event.seq
        yield event
    if args.follow:
        yield from fetched(seen, follow=True)


def _events(lines: Iterable[StreamLine]) -> Iterator[EventView]:
    return (line.event for line in lines if line.event is not None)


def event_text(event: EventView) -> str:
    """What happened, and who did it unless the text already says so."""
    message, actor = event.message, event.actor
    if not actor or actor in re.findall(r"[^\s:(),;]+", message):
        return message
    return f"{message} (by {actor})"


def _json_line(event: EventView) -> str:
    from hostler.model.codec import to_json

    return json.dumps({"schema": "hostler.event/1", **to_json(event)}, separators=(",", ":")) + "\n"


def event_line(event: EventView, *, color: bool) -> str:
    """ "2026-11-24T12:04:31+00:00  warning  host.lost  gpu1 does not answer"."""
    severity = event.severity
    parts = [exact_time(event.at), severity, event.kind, clean(event_text(event))]
    if not is_terminal() and not color:
        return "\t".join(clean(part) for part in parts) + "\n"
    shown = f"{severity:<7}"
    shown = paint_status(shown) if color else shown
    return f"{parts[0]}  {shown}  {clean(parts[2]):<20}  {parts[3]}\n"
