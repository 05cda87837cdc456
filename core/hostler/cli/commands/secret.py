"""`hostler secret`: set, list and remove secrets; its columns and warnings, and the refusal of a
value as an argument. A value never is an argument."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hostler.base.dates import clock_text, exact_time
from hostler.base.errors import InputError
from hostler.base.secret_rules import SHORTEST, is_masked, read_secret_name
from hostler.base.table import Column, is_terminal
from hostler.base.text import clean_line
from hostler.cli.shared import (
    DECLINED,
    add_common,
    add_yes,
    confirm,
    each,
    hint,
    note_for,
    open_client,
    out,
    out_json,
    out_table,
)

if TYPE_CHECKING:
    from hostler.model.views.secrets import SecretView

EPILOG = """\
  hostler secret set NAME     asks for the value, or reads it from a pipe
  hostler secret ls
  hostler secret rm NAME

A stage takes it by secrets = ["NAME"] in the pipeline file, a command by --secret NAME.
"""
INTERMIXED = True
COLUMNS = (Column("NAME", flex=True, least=12), Column("SET"), Column("USED BY", flex=True))
LIMIT = (
    "a running stage can read its secrets, and so can every user of the same login on its host: "
    "secrets are environment variables of its process"
)
_NO_ARGUMENT = (
    "the value must not be an argument: other users see it in the list of processes, and your "
    "shell's history keeps it"
)
_ACTIONS = {"set": "set", "ls": "list", "rm": "remove"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("action", choices=tuple(_ACTIONS), help="what to do")
    parser.add_argument("secrets", nargs="*", metavar="NAME", help="names, like HF_TOKEN")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--from-file", metavar="FILE", help="set: read the value from a file")
    source.add_argument(
        "--command", dest="program", metavar="CMD",
        help="set: use the output of a command as the value, for example 'pass show hf'",
    )  # fmt: skip
    add_yes(parser)
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """Set one, list all, or remove some."""
    if args.action != "set" and (args.from_file or args.program):
        option = "--from-file" if args.from_file else "--command"
        raise InputError(f"{option} is for hostler secret set")
    if args.json and args.action != "ls":
        raise InputError("--json is for hostler secret ls")
    return {"set": _set, "ls": _list, "rm": _remove}[args.action](args)


def _set(args: argparse.Namespace) -> int:
    from pathlib import Path

    from hostler.cli.secret_value import asked_value
    from hostler.submit.remembered import tell_once

    name = _only_name(args.secrets)
    value = asked_value(name, args.from_file, args.program, note_for(args))
    open_client(args).set_secret(name, value)
    say = note_for(args)
    if not is_masked(value):
        say(f"{name} is shorter than {SHORTEST} characters: it is not masked in logs")
    tell_once(Path.home(), [LIMIT], say)
    if not args.quiet:
        out(f"{name}: set")
    return 0


def _only_name(words: list[str]) -> str:
    if not words:
        raise InputError("NAME is missing", remedy="Write it like: hostler secret set HF_TOKEN")
    name = words[0].partition("=")[0]
    if words[1:] or "=" in words[0]:
        raise InputError(
            _NO_ARGUMENT,
            remedy="Write only the name; the command then asks for the value: hostler secret set "
            f"{clean_line(name, 60)}. Other users may have seen the value that you typed here: "
            "replace it at its issuer",
        )
    return _checked(name)


def _checked(name: str) -> str:
    try:
        return read_secret_name(name)
    except ValueError as error:
        raise InputError(str(error)) from None


def _list(args: argparse.Namespace) -> int:
    if args.secrets:
        raise InputError("hostler secret ls takes no name: it lists all")
    found = open_client(args).secrets()
    if args.json:
        out_json("secrets", {"secrets": found})
    elif found:
        out_table(args, COLUMNS, [_row(secret) for secret in found])
    else:
        hint(args, "you have no secrets; set one: hostler secret set NAME")
    return 0


def _row(secret: SecretView) -> list[str]:
    at = clock_text(secret.set_at) if is_terminal() else exact_time(secret.set_at)
    return [secret.name, at, ", ".join(secret.used_by) or "-"]


def _remove(args: argparse.Namespace) -> int:
    names = [_checked(name) for name in dict.fromkeys(args.secrets)]
    if not names:
        raise InputError("NAME is missing", remedy="See yours: hostler secret ls")
    client = open_client(args)
    users = {secret.name: secret.used_by for secret in client.secrets()}
    effects = [
        f"run {run_id} uses {name}: its stages that start later will fail"
        for name in names
        for run_id in users.get(name, ())
    ]
    what = f"the secret {names[0]}" if len(names) == 1 else f"{len(names)} secrets"
    if not confirm(args, f"Remove {what}?", effects):
        return DECLINED
    if args.yes:
        for effect in effects:
            note_for(args)(effect)

    def remove(name: str) -> None:
        client.remove_secret(name)
        if not args.quiet:
            out(f"{name}: removed")

    return each(names, remove)
