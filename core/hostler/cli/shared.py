"""Shared by the commands: common options (--json, --quiet, --color, --socket, --secret),
yes-or-no questions and the exit code of no, hints, form of tables.

The client and the model are loaded by the functions that need them: completing a word needs none.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from hostler.base.errors import ConfigError, HostlerError, InputError, PipelineError
from hostler.base.table import (
    Column,
    cell_width,
    is_terminal,
    render_table,
    render_tsv,
    terminal_width,
    wants_color,
)
from hostler.base.text import clean
from hostler.cli.options import patience
from hostler.cli.problems import report
from hostler.quick.socket import DEFAULT_TIMEOUT, Found, find_socket

if TYPE_CHECKING:
    from hostler.client import Client
    from hostler.client.daemon_start import Say
    from hostler.model.views.runs import RunDetail

DECLINED = 130
"""Exit code after the answer no: the same as Ctrl-C."""


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


def add_secret_option(parser: argparse.ArgumentParser) -> None:
    """--secret, for commands that make a new run from a run."""
    parser.add_argument(
        "--secret", dest="secrets", action="append", metavar="NAME",
        help="give this variable of your shell as a secret, kept until the run ends; may be "
             "repeated",
    )  # fmt: skip


def add_yes(parser: argparse.ArgumentParser) -> None:
    """-y, for commands that ask first."""
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def open_client(args: argparse.Namespace, *, start: bool = True) -> Client:
    """A client of the daemon. `start`: starts the personal daemon if it does not run.

    Raises NoDaemonError.
    """
    from hostler.client import Client

    if start:
        ensure = partial(ensure_daemon, args.socket, say=note_for(args))
        return Client(found=ensure(), timeout=args.read_timeout, revive=ensure)
    return Client(found=find_socket(args.socket), timeout=args.read_timeout)


@contextmanager
def named_by_option(*, when: bool = True) -> Iterator[None]:
    """Name problems by option instead of by line, because the user did not write the pipeline file
    that a command, a batch script or a Dockerfile stands for."""
    try:
        yield
    except PipelineError as error:
        if not when:
            raise
        from hostler.spec.problems import as_options  # loaded only where something is wrong

        problems = as_options(error.problems)
        raise PipelineError(error.message, problems=problems, remedy=error.remedy) from error


def note_for(args: argparse.Namespace) -> Callable[[str], None]:
    """`note`, or a silent function with --quiet and --json."""
    if args.quiet or getattr(args, "json", False):
        from hostler.submit.remembered import silent

        return silent
    return note


def note(text: str) -> None:
    """A note for users, on stderr."""
    sys.stderr.write(clean(text) + "\n")
    sys.stderr.flush()


def hint(args: argparse.Namespace, text: str) -> None:
    """Advice: on a terminal only, and not with --quiet or --json."""
    if is_terminal(sys.stderr):
        note_for(args)(text)


def out(text: str) -> None:
    """One line of the answer."""
    sys.stdout.write(clean(text) + "\n")


def out_json(schema: str, members: object) -> None:
    """A whole object (a view, or a table of its members) as JSON, with its schema first."""
    from hostler.model.codec import to_json

    told = members if isinstance(members, dict) else to_json(members)
    whole = {"schema": f"hostler.{schema}/1", **told}
    sys.stdout.write(json.dumps(whole, separators=(",", ":"), default=_written) + "\n")


def _written(value: object) -> object:
    from dataclasses import is_dataclass

    from hostler.model.codec import to_json

    return to_json(value) if is_dataclass(value) else str(value)


def out_table(
    args: argparse.Namespace, columns: Sequence[Column], rows: Sequence[Sequence[str]]
) -> None:
    """A table on a terminal, tab-separated values elsewhere."""
    if is_terminal():
        text = render_table(columns, rows, width=terminal_width(), color=wants_color(args.color))
    else:
        text = render_tsv(rows)
    sys.stdout.write(text)


def broken(text: str, width: int | None, indent: int) -> list[str]:
    """A text in lines that leave `indent` cells free; a long word (a key, a path) stays whole."""
    if width is None or cell_width(text) <= width - indent:
        return [text]
    return textwrap.wrap(
        text, max(20, width - indent), break_long_words=False, break_on_hyphens=False
    ) or [""]


def confirm(args: argparse.Namespace, question: str, effects: Iterable[str] = ()) -> bool:
    """Ask before an action that cannot be undone; the safe answer is the default.

    Raises InputError if there is no terminal and --yes is missing.
    """
    if args.yes:
        return True
    if not is_terminal(sys.stdin):
        raise InputError(
            f"{question} There is no terminal to ask on", remedy="Add -y (--yes) if you mean it"
        )
    for effect in effects:
        note(f"  {effect}")
    return ask_line(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def ask_line(prompt: str) -> str:
    """One line from the user; "" at the end of input. The prompt goes to stderr."""
    sys.stderr.write(clean(prompt))
    sys.stderr.flush()
    return sys.stdin.readline().rstrip("\n")


def yes_to_several(args: argparse.Namespace, verb: str, ids: Sequence[str]) -> bool:
    """Ask before an action on several runs."""
    return confirm(args, f"{verb} {len(ids)} runs ({', '.join(ids)})?")


def named_runs(client: Client, names: Iterable[str]) -> list[RunDetail]:
    """The runs of these names, each once: a user may name a run by its id and as `last`."""
    return list({run.run_id: run for run in map(client.show, names)}.values())


def each(items: Sequence[str], action: Callable[[str], None]) -> int:
    """Do it for every item, even if one fails; the worst exit code."""
    worst = 0
    for item in items:
        try:
            action(item)
        except HostlerError as error:
            worst = max(worst, report(error))
    return worst


def ensure_daemon(named: str | None = None, say: Say | None = None) -> Found:
    """A socket with a daemon that answers; see `daemon_start`."""
    from hostler.client.daemon_start import ensure_daemon as ensure_any

    return ensure_any(named, say, config_error)


def start(found: Found) -> Found:
    """Start the personal daemon and wait until it answers; see `daemon_start`."""
    from hostler.client.daemon_start import start as start_personal

    return start_personal(found, config_error)


def config_error() -> ConfigError | None:
    """The error in the configuration."""
    from hostler.daemon.config_file import load_config  # slow, and rarely wanted

    try:
        load_config()
    except ConfigError as error:
        return error
    return None
