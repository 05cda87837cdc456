"""Wrong usage in one line: what is wrong, what was probably meant, and where to read on.

argparse answers a typo with every option the command has, several lines of them.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import NoReturn

from hostler.base.errors import InputError

_ARGUMENT = re.compile(r"argument ([^:]+): (.*)", re.DOTALL)
_CHOICE = re.compile(r"invalid choice: ('.*?') \(choose from (.*)\)", re.DOTALL)
_UNKNOWN = "unrecognized arguments: "
_MISSING = "the following arguments are required: "


LATER_OPTIONS = {
    "--via": "log in where that daemon runs, and use hostler there",
    "--nodes": "a stage runs on one host",
    "--secret": "the command may read a file that only you can read",
    "--shell": "a stage has no terminal",
}


class UsageParser(argparse.ArgumentParser):
    """Raises InputError for wrong usage. `takes_command`: words after `--` are a command."""

    takes_command = False

    def error(self, message: str) -> NoReturn:
        """Raise InputError for a message of argparse."""
        said, meant = self._explain(message)
        see = f"See `{self.prog} --help`"
        raise InputError(said, remedy=f"{meant} {see}" if meant else see)

    def _explain(self, message: str) -> tuple[str, str]:
        if message.startswith(_UNKNOWN):
            return self._unknown(message[len(_UNKNOWN) :].split(" ")[0])
        if message.startswith(_MISSING):
            return self._missing(message[len(_MISSING) :])
        found = _ARGUMENT.fullmatch(message)
        if found is None:
            return message, ""
        name, wrong = found[1], found[2]
        if name.startswith("-"):
            name = name.split("/")[-1]
        choice = _CHOICE.fullmatch(wrong)
        if choice is not None:
            wrong = f"{choice[1]} is none of {choice[2].replace(chr(39), '')}"
            return (f"{name}: {wrong}" if name.startswith("-") else wrong), ""
        if wrong.startswith("expected "):
            return f"{name} needs a value", ""
        return f"{name}: {wrong}", ""

    def _missing(self, names: str) -> tuple[str, str]:
        for action in self._actions:
            if action.dest == names.split(",")[0] and action.choices:
                return f"a word is missing: {', '.join(map(str, action.choices))}", ""
        return f"{names} is missing", ""

    def _unknown(self, word: str) -> tuple[str, str]:
        if word.startswith("-") and word != "-":
            name = word.partition("=")[0]
            if name in LATER_OPTIONS:
                return f"{name} is not supported yet: {LATER_OPTIONS[name]}", ""
            near = nearest_option(name, self._option_string_actions)
            return f"there is no option {name}", f"Did you mean {near}?" if near else ""
        if self.takes_command:
            return (
                f"{word!r} is one word too many",
                f"A command stands after --: `{self.prog} -- CMD {word}`.",
            )
        return f"{word!r} is one word too many", ""


def nearest_option(name: str, known: Iterable[str]) -> str | None:
    """The long option that was probably meant: one that holds the word, else one spelt alike."""
    import difflib  # only for mistakes

    options = sorted(option for option in known if option.startswith("--"))
    word = name.lstrip("-")
    holding = [option for option in options if len(word) > 2 and word in option]
    if holding:
        return holding[0]
    near = difflib.get_close_matches(name, options, n=1)
    return near[0] if near else None
