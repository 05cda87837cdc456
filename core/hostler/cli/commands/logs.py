"""`hostler logs RUN`: which stage and attempt is shown without --stage, --tail, --grep, --follow
and its exit code."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hostler.base.errors import InputError, NotFoundError
from hostler.base.table import is_terminal
from hostler.base.text import first_of
from hostler.cli.follow import Follower, LogCopy
from hostler.cli.log_output import LinePrinter, LogPrinter
from hostler.cli.options import count, natural, run_and_stage
from hostler.cli.shared import add_common, note_for, open_client
from hostler.show.progress import attempt_code

if TYPE_CHECKING:
    from hostler.client import Client
    from hostler.model.views.runs import RunView, StageView


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "run",
        type=run_and_stage,
        metavar="RUN[/STAGE]",
        help="a run's id, or its beginning; `last`",
    )
    parser.add_argument(
        "--stage", metavar="NAME", help="which stage (default: the running or failed one, or all)"
    )
    parser.add_argument(
        "--attempt", type=count, metavar="N", help="which attempt (default: the latest)"
    )
    parser.add_argument(
        "-f", "--follow", action="store_true", help="follow the log until the attempt ends"
    )
    parser.add_argument("--tail", type=natural, metavar="N", help="only the last N lines")
    parser.add_argument("--offset", type=natural, metavar="N", help="start at byte N")
    parser.add_argument("--length", type=natural, metavar="N", help="at most N bytes")
    parser.add_argument("--raw", action="store_true", help="unchanged bytes, also on a terminal")
    parser.add_argument("--grep", metavar="REGEX", help="only lines that match")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Print a log."""
    pattern = _pattern(args.grep)
    part = {"offset": args.offset, "length": args.length, "tail": args.tail}
    if args.offset is not None and args.tail is not None:
        raise InputError("--offset and --tail cannot be combined")
    if args.follow and (args.offset, args.length) != (None, None):
        raise InputError("--offset and --length cannot be combined with --follow")
    client = open_client(args)
    found = client.show(args.run[0])
    stages = _choose(args, found)
    for stage in stages:
        attempt = args.attempt or _latest(stage)
        if attempt is None:
            raise NotFoundError(
                f"stage {stage.name} of {found.run_id} has not started",
                remedy=f"See why: hostler why {found.run_id}/{stage.name}",
            )
        printer = LogPrinter(raw=args.raw, grep=pattern, color=args.color)
        if args.follow:
            return _follow(args, client, found.run_id, stage.name, attempt, printer)
        named = printer if len(stages) == 1 else LinePrinter(printer, stage.name)
        for data in client.logs(found.run_id, stage.name, attempt=attempt, **part):
            named.write(data)
        named.finish()
    return 0


def _choose(args: argparse.Namespace, run: RunView) -> list[StageView]:
    """The stages whose logs are shown: the named stage, the running one, the only started one; else
    the failed stages, else all started stages. One attempt is followed at a time."""
    name = args.run[1] or args.stage
    started = [stage for stage in run.stages if stage.attempt]
    running = [stage for stage in started if stage.status == "running"]
    failed = [stage for stage in started if stage.status == "failed"]
    if name is not None or len(started) < 2 or len(running) == 1:
        return [choose_stage("logs", run, name)]
    shown = failed if failed and not running else started
    if len(shown) > 1 and (args.follow or args.attempt is not None):
        return [choose_stage("logs", run, None)]  # refuses, and names them
    return shown


def _follow(
    args: argparse.Namespace, client: Client, run_id: str, stage: str, number: int,
    printer: LogPrinter,
) -> int:  # fmt: skip
    """Follow the log to the attempt's end; the exit code for that end."""
    try:
        LogCopy(client, run_id, stage, number, printer, tail=args.tail).follow()
        return _code(client, run_id, stage, number)
    except KeyboardInterrupt:
        if is_terminal(sys.stderr):
            sys.stderr.write("\n")  # below the ^C that the terminal has shown
        note_for(args)(f"detached; {run_id} continues")
        raise


def _code(client: Client, run_id: str, stage: str, number: int) -> int:
    """The exit code of an attempt whose log has ended, once the daemon has stored its end."""
    follower = Follower(client, run_id)
    for run in follower.updates():
        tries = next((s.attempts for s in run.stages if s.name == stage), ())
        attempt = next((a for a in tries if a.number == number), None)
        if attempt is None:  # kept of an earlier run, of which only successes are
            return 0
        if attempt.phase not in ("starting", "running", "collecting"):
            return attempt_code(attempt)
    return 0


def _pattern(text: str | None) -> re.Pattern[bytes] | None:
    if text is None:
        return None
    try:
        return re.compile(text.encode("utf-8"))
    except re.error as error:
        raise InputError(f"--grep {text!r} is not a regular expression: {error}") from None


def _latest(stage: StageView) -> int | None:
    attempt = stage.attempt
    return attempt.number if attempt else None


def choose_stage(command: str, run: RunView, name: str | None) -> StageView:
    """The stage of that name; without a name the only stage that has started, or that runs.

    Raises NotFoundError or InputError naming the stages to choose from.
    """
    stages = run.stages
    if name is not None:
        exact = [stage for stage in stages if stage.name == name]
        cells = [stage for stage in stages if stage.base == name]
        if exact or len(cells) == 1:
            return (exact or cells)[0]
        if cells:
            raise InputError(f"{name} has {len(cells)} cells", remedy=f"Name one: {_names(cells)}")
        raise NotFoundError(
            f"run {run.run_id} has no stage {name!r}", remedy=f"It has: {_names(stages)}"
        )
    started = [stage for stage in stages if stage.attempt]
    if len(stages) == 1:
        return stages[0]
    if len(started) == 1:
        return started[0]
    running = [stage for stage in started if stage.status == "running"]
    if len(running) == 1:
        return running[0]
    choice = running or started or stages
    like = f"hostler {command} {run.run_id}/{choice[0].name}"
    raise InputError(
        f"run {run.run_id} has {len(stages)} stages",
        remedy=f"Name one, like {like}: {_names(choice)}",
    )


def _names(stages: Sequence[StageView]) -> str:
    return first_of([stage.name for stage in stages], 10)
