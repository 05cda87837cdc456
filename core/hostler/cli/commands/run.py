"""`hostler run`: its options (those of a command derive from keys of a stage), the four forms of
FILE and CMD, detach and --timeout, notes about GPUs and hosts."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hostler.base.errors import HostlerError, InputError
from hostler.base.json_types import Json, JsonTable
from hostler.base.keys import Shape
from hostler.base.table import is_terminal
from hostler.base.value_kinds import FLAG
from hostler.cli.follow import (
    CommandView,
    Follower,
    ask_detach,
    detached_note,
    follow_lines,
    follow_table,
    last_words,
    saved_of,
)
from hostler.cli.options import (
    array,
    between,
    duration,
    duration_text,
    integer,
    natural,
    pair,
    positive,
    run_name,
    size_text,
)
from hostler.cli.shared import (
    add_common,
    hint,
    named_by_option,
    note,
    note_for,
    open_client,
    out,
    out_json,
    out_table,
)
from hostler.client.submission import check_own, choose_code, with_source
from hostler.model.pipeline_file import command_keys
from hostler.quick.socket import heard
from hostler.show.progress import command_code, end_code, end_lines
from hostler.submit.body import (
    DEFAULT_FILE,
    command_body,
    current_folder,
    pipeline_body,
    with_file_names,
)
from hostler.submit.own_gpus import file_notes
from hostler.submit.remembered import silent, tell_once
from hostler.submit.secrets import told_variables

if TYPE_CHECKING:
    from hostler.client import Client
    from hostler.model.views.plans import PlanView
    from hostler.model.views.runs import NewRun
    from hostler.submit.batch import BatchScript


TAKES_COMMAND = True
STILL_RUNNING = 8

EPILOG = """\
Four forms:
  hostler run [FILE] [-p NAME=VALUE]...      a pipeline (default: pipeline.toml)
  hostler run FILE ... -- ARG...             the same, with {args} of its commands
  hostler run [--gpus N] ... -- CMD [ARG]... one command
  hostler run [--gpus N] ... SCRIPT [ARG]... a Slurm batch script (with #SBATCH lines)

On a terminal, the command follows the run to its end; Ctrl-C asks whether to detach or cancel.
Otherwise, or with -d, it prints the run's id and returns; --wait follows the run there, too.
"""

_NO_GPU = "no GPU requested; --gpus 1 requests one"

_READERS = {
    Shape.SIZE: size_text,
    Shape.DURATION: duration_text,
    Shape.WHOLE: natural,
    Shape.NUMBER: positive,
}
_REPEATED = (Shape.TEXTS, Shape.VARIABLES)
_OWN = {"each": "--each", "array": "--array", "name": "--name"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="a pipeline file, or a Slurm batch script"
    )
    parser.add_argument("words", nargs="*", metavar="ARG", help="arguments of the batch script")
    parser.add_argument(
        "-p", "--param", dest="params", type=pair, action="append", metavar="NAME=VALUE",
        help="a parameter of the pipeline; may be repeated",
    )  # fmt: skip
    parser.add_argument("--title", default="", metavar="TEXT", help="a short title")
    parser.add_argument(
        "--priority",
        type=integer,
        default=0,
        metavar="N",
        help="0 or less; runs with a higher priority go first",
    )
    parser.add_argument(
        "--after", type=run_name, action="append", metavar="RUN",
        help="start when this run has succeeded; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--after-any", type=run_name, action="append", metavar="RUN",
        help="start when this run has ended, however it ended; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--plan", action="store_true", help="only show where each stage would run, and why"
    )
    parser.add_argument(
        "--print", action="store_true",
        help="only print the pipeline file that a batch script means",
    )  # fmt: skip
    parser.add_argument("-d", "--detach", action="store_true", help="print the id and return")
    parser.add_argument(
        "--wait", action="store_true", help="follow the run to its end, also in a pipe"
    )
    parser.add_argument(
        "--timeout",
        type=duration,
        metavar="TIME",
        help="follow at most this long, then exit with 8",
    )
    parser.add_argument(
        "--include", dest="includes", action="append", metavar="PATH",
        help="also send this path or glob, which git ignores; may be repeated",
    )  # fmt: skip
    add_command_options(parser.add_argument_group("for one command"))
    parser.add_argument(
        "--no-env", action="store_true",
        help="use the hosts' own programs instead of this shell's conda or virtual environment",
    )  # fmt: skip
    add_common(parser, json_output=True, timeout=False)


def run(args: argparse.Namespace) -> int:
    """Submit, and follow or not."""
    if args.priority > 0:
        raise InputError("--priority can only lower", remedy="Use 0 or less")
    args.script = _script(args)
    with named_by_option(when=args.script is not None):
        return _submit(args)


def _submit(args: argparse.Namespace) -> int:
    client, body, folder = _asked(args)
    if args.print:
        return 0
    client.carry_out(check_own(body, note_for(args)))
    body = client.carry_out(choose_code(body, folder))
    if args.plan:
        tell_once(folder, file_notes(body, folder), note_for(args))
        return _plan(args, client.plan(with_file_names(body, folder)))
    body = client.carry_out(with_source(body, folder, note_for(args)))
    submitted = client.submit(body)
    run_id = submitted.run_id
    if submitted.dropped_environment:
        tell_once(folder, [submitted.dropped_environment], note_for(args))
    say = note_for(args)
    for line in filter(None, (submitted.gpu_models, submitted.own_gpus)):
        say(line)
    asks = args.gpus is not None or args.model
    if _is_command(args) and not asks and say is not silent and _has_gpus(client):
        say(_NO_GPU)
    if not _attached(args):
        return _detached(args, submitted)
    if not _is_single(args) and not is_terminal():
        _say_no_host(args, submitted)  # the other views tell of each stage why it waits
    if not args.quiet and (_is_single(args) or not is_terminal()):
        note(run_id)  # the live table names it in its title
    return _follow(args, client, run_id)


def _has_gpus(client: Client) -> bool:
    """Whether the lab has any GPU; False if that is unknown. A newly started daemon gets a moment
    to query its hosts."""
    try:
        return bool(heard(lambda: client.version().gpus, lambda count: count is None))
    except HostlerError:
        return False


def _asked(args: argparse.Namespace) -> tuple[Client, JsonTable, Path]:
    """A daemon, what to submit to it, and the folder of its code. A mistake starts no daemon."""
    if args.script is not None:
        from hostler.cli.batch import batch_submission  # as below

        client, body, folder = batch_submission(args, args.script, options_of(args))
    else:
        body, folder = _body(args)
        client = open_client(args)
    return client, _with_more(args, body), folder


def _script(args: argparse.Namespace) -> BatchScript | None:
    """The batch script in FILE; None if it is not one."""
    if args.file is None and not args.print:
        return None
    from hostler.cli.batch import batch_script  # a single command loads nothing of it

    return batch_script(args)


def _body(args: argparse.Namespace) -> tuple[JsonTable, Path]:
    """The body for a pipeline file or a command."""
    if _is_command(args):
        if args.params:
            raise InputError(
                "both parameters of a pipeline and a command are given",
                remedy="Give either FILE with -p, or a command after --",
            )
        folder = current_folder()
        body = command_body(args.command, options_of(args), os.environ, folder)
        for line in told_variables(args.env, os.environ) if args.env else ():
            note_for(args)(line)
    else:
        wrong = first_option(args, but="--secret")
        if wrong:
            raise InputError(
                f"{wrong} works only with a command: `hostler run -- CMD`",
                remedy="Put the command after --, or write it into the pipeline file",
            )
        file = Path(args.file or DEFAULT_FILE)
        params = dict(args.params or ())
        words = args.command or ()
        body = pipeline_body(file, params, os.environ, words, secrets=args.secret or ())
        folder = file.parent if args.file else current_folder()
    return body, folder


def _with_more(args: argparse.Namespace, body: JsonTable) -> JsonTable:
    """The body with options that every submission may have."""
    if args.no_env:
        body = {key: value for key, value in body.items() if key not in ("env", "programs")}
    source = {"source": {"include": args.includes}} if args.includes else {}
    waits = {name: runs for name in ("after", "after_any") if (runs := getattr(args, name))}
    return {**waits, **body, "title": args.title, "priority": args.priority, **source}


def _is_single(args: argparse.Namespace) -> bool:
    """Whether the run is one command in one stage: then the user sees its output."""
    if args.script is not None:
        return args.script.job.array is None
    return _is_command(args) and not args.each and not args.array


def _is_command(args: argparse.Namespace) -> bool:
    """Whether it is a command. After a FILE, the words are the `{args}` of that file."""
    return bool(args.command) and args.file is None


def _attached(args: argparse.Namespace) -> bool:
    if args.detach:
        return False
    return bool(args.wait) or (is_terminal() and not args.json)


def _detached(args: argparse.Namespace, submitted: NewRun) -> int:
    run_id = submitted.run_id
    if args.json:
        out_json("run", submitted)
        return 0
    out(run_id)
    _say_no_host(args, submitted)
    hint(args, f"see it: hostler show {run_id}   stop it: hostler cancel {run_id}")
    return 0


def _say_no_host(args: argparse.Namespace, submitted: NewRun) -> None:
    """Stages that would wait forever."""
    sentence = submitted.no_host
    if sentence:
        note_for(args)(f"{sentence}; hostler why {submitted.run_id}")


def _follow(args: argparse.Namespace, client: Client, run_id: str) -> int:
    """Follow the run to its end, to the deadline, or until the user detaches; the exit code."""
    follower = Follower(client, run_id, args.timeout)
    show = _view(args, follower)
    while True:
        try:
            show()
            break
        except KeyboardInterrupt:
            if not (is_terminal() and is_terminal(sys.stdin)) or ask_detach(client, run_id):
                detached_note(run_id)
                raise
    if follower.run is None or not follower.is_over:
        note_for(args)(f"{run_id} still runs")
        return STILL_RUNNING
    if args.json:
        out_json("run", follower.run)
    elif not args.quiet and (follower.run.outcome != "succeeded" or not _is_single(args)):
        quoted = [] if _is_single(args) else last_words(client, follower.run)
        for line in (*end_lines(follower.run), *quoted):
            note(line)
    if not args.json and not args.quiet:
        for line in saved_of(client, follower.run):
            note(line)
    return command_code(follower.run) if _is_single(args) else end_code(follower.run)


def _view(args: argparse.Namespace, follower: Follower) -> Callable[[], None]:
    """Show the run until its end; called again after an interruption."""
    if args.json:
        return follower.finish
    if _is_single(args):
        return CommandView(follower, quiet=args.quiet).show
    if is_terminal() and not args.quiet:
        return lambda: follow_table(follower, args.color)
    return lambda: follow_lines(follower, quiet=args.quiet)


def _plan(args: argparse.Namespace, found: PlanView) -> int:
    from hostler.show.plan import PLAN_COLUMNS, alike_folded, plan_row  # a run does without

    if args.json:
        out_json("plan", found)
        return 0
    for line in filter(None, (found.gpu_models, found.own_gpus)):
        note_for(args)(line)
    rows = [plan_row(stage) for stage in found.stages]
    out_table(args, PLAN_COLUMNS, alike_folded(rows) if is_terminal() else rows)
    return 0


def add_command_options(group: argparse._ArgumentGroup) -> None:
    """Add the options of a command."""
    for key in command_keys().values():
        if key.flag is not None and key.kind is FLAG:
            group.add_argument(key.flag.name, action="store_const", const=True, help=key.flag.help)
        elif key.flag is not None:
            words, bounds = key.kind.schema.get("enum"), key.kind.bounds
            group.add_argument(
                key.flag.name,
                metavar=key.flag.value or None,
                type=between(*bounds) if bounds else _READERS.get(key.kind.shape, str),
                action="append" if key.kind.shape in _REPEATED else "store",
                choices=words if isinstance(words, list) else None,
                help=key.flag.help,
            )
    group.add_argument(
        "--each", metavar="GLOB", action="extend", nargs="+",
        help="one run with a cell for each file that matches; {} in CMD is its name, {{}} is {}",
    )  # fmt: skip
    group.add_argument(
        "--array", type=array, metavar="N-M[%MAX]",
        help="one run with a cell for each number; {} in CMD is the number; MAX of them at once",
    )  # fmt: skip
    group.add_argument("--name", metavar="NAME", help="name of the run (default: the program)")


def options_of(args: argparse.Namespace) -> JsonTable:
    """The options of the command, by the names of the API."""
    asked: JsonTable = {name: _given(args, flag) for name, flag in _flags().items()}
    if args.array is not None:
        asked |= {"array": list(args.array.numbers), "max_parallel": args.array.max_parallel}
    return {name: value for name, value in asked.items() if value is not None}


def first_option(args: argparse.Namespace, *, but: str = "") -> str | None:
    """An option of a command that was given; `but` one that means something without it, too."""
    flags = [flag for flag in _flags().values() if flag != but]
    return next((flag for flag in flags if _given(args, flag) is not None), None)


def _flags() -> dict[str, str]:
    keys = command_keys().items()
    return {name: key.flag.name for name, key in keys if key.flag is not None} | _OWN


def _given(args: argparse.Namespace, flag: str) -> Json:
    value: Json = getattr(args, flag.removeprefix("--").replace("-", "_"))
    return value
