"""`hostler __complete WORD...`: what the Tab key offers (commands, options, runs, stages, hosts,
secrets), and how long it may take. Never starts a daemon, never asks a host, never fails aloud:
a shell is waiting for a key press."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from hostler.base.errors import HostlerError
from hostler.base.text import clean
from hostler.base.wire import target
from hostler.cli.parser import build_parser, load
from hostler.cli.parser import table as commands
from hostler.quick.socket import ask, find_socket
from hostler_agent.json_values import table, tables

TAKES_WORDS = True
_PATIENCE = 0.3

_RUN_ARGUMENTS = ("run", "runs")
_SECRET_ARGUMENTS = ("secrets",)
_HOST_ARGUMENTS = ("hosts", "host")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("words", nargs="*", metavar="WORD", help="the words typed so far")


def run(args: argparse.Namespace) -> int:
    """Print the candidates."""
    for candidate in candidates(args.words or [""]):
        sys.stdout.write(clean(candidate) + "\n")
    return 0


def candidates(words: Sequence[str]) -> list[str]:
    """The possible completions of the last of `words`."""
    last = words[-1]
    if len(words) == 1:
        return [name for name in commands() if name.startswith(last)]
    if words[0] not in commands() or "--" in words[:-1]:
        return []
    parser = build_parser(words[0], load(words[0]))
    actions = parser._actions
    before = _option(actions, words[-2])
    if before is not None and before.nargs is None and not _is_flag(before):
        found = _values(before)
    elif last.startswith("-"):
        found = [flag for action in actions for flag in action.option_strings]
    else:
        takes = [action for action in actions if not action.option_strings]
        with_stage = "/" in last and any("/STAGE" in str(action.metavar) for action in takes)
        found = _stages(last) if with_stage else [v for action in takes for v in _values(action)]
    return sorted({text for text in found if text.startswith(last)})


def _option(actions: Sequence[argparse.Action], word: str) -> argparse.Action | None:
    return next((action for action in actions if word in action.option_strings), None)


def _is_flag(action: argparse.Action) -> bool:
    return isinstance(action.const, bool) or action.nargs == 0


def _values(action: argparse.Action) -> list[str]:
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    if action.dest in _RUN_ARGUMENTS:
        found = _asked("/v1/runs?limit=50", "runs", "run_id")
        return [*found, "last"] if found else []
    if action.dest in _SECRET_ARGUMENTS and not action.option_strings:
        return _asked("/v1/secrets", "secrets", "name")
    if action.dest in _HOST_ARGUMENTS:
        return _asked("/v1/gpus", "hosts", "host")
    return []


def _stages(typed: str) -> list[str]:
    """RUN/STAGE for the run that is already typed."""
    run = typed.partition("/")[0]
    return [f"{run}/{stage}" for stage in _asked(target(["runs", run]), "stages", "name")]


def _asked(target: str, listed: str, key: str) -> list[str]:
    """This key of each object of a list in an answer. Empty without a daemon: a shell cannot use
    the reason."""
    try:
        answer = ask(find_socket(), "GET", target, timeout=_PATIENCE)
    except HostlerError:
        return []
    return [str(each[key]) for each in tables(table(answer).get(listed)) if key in each]
