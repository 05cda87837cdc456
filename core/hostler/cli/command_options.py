"""The options of `hostler run -- CMD`. Most derive from the keys of a stage."""

from __future__ import annotations

import argparse

from hostler.base.json_types import Json, JsonTable
from hostler.base.keys import Shape
from hostler.cli.kinds import array, duration_text, natural, positive, size_text
from hostler.model.command import command_keys

_READERS = {
    Shape.SIZE: size_text,
    Shape.DURATION: duration_text,
    Shape.WHOLE: natural,
    Shape.NUMBER: positive,
}
_REPEATED = (Shape.TEXTS, Shape.VARIABLES)
_OWN = {"each": "--each", "array": "--array", "name": "--name"}


def add_command_options(group: argparse._ArgumentGroup) -> None:
    """Add them."""
    for key in command_keys().values():
        if key.flag is not None:
            words = key.kind.schema.get("enum")
            group.add_argument(
                key.flag.name,
                metavar=key.flag.value or None,
                type=_READERS.get(key.kind.shape, str),
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
    """What was asked of the command, by the names of the API."""
    asked: JsonTable = {name: _given(args, flag) for name, flag in _flags().items()}
    if args.array is not None:
        asked |= {"array": list(args.array.numbers), "max_parallel": args.array.max_parallel}
    return {name: value for name, value in asked.items() if value is not None}


def first_option(args: argparse.Namespace) -> str | None:
    """An option of a command that was given."""
    return next((flag for flag in _flags().values() if _given(args, flag) is not None), None)


def _flags() -> dict[str, str]:
    keys = command_keys().items()
    return {name: key.flag.name for name, key in keys if key.flag is not None} | _OWN


def _given(args: argparse.Namespace, flag: str) -> Json:
    value: Json = getattr(args, flag.removeprefix("--").replace("-", "_"))
    return value
