"""The table of commands with their help, suggestions for misspelt or missing options (--nodes),
the overview of `--help`, and what the demo refuses. Wrong usage is answered in one line, where
argparse answers a typo with every option of the command."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import NoReturn

from hostler.base.errors import InputError
from hostler.base.text import is_text
from hostler.base.version import __version__

# Name -> (module under hostler.cli.commands, one line of help), in groups as --help shows them.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Look": {
        "gpus": ("gpus", "show which GPUs are free"),
        "hosts": ("hosts", "list hosts and their problems"),
        "ps": ("ps", "list running and pending stages"),
        "runs": ("runs", "list runs, newest first"),
        "services": ("services", "list services and their replicas"),
        "releases": ("releases", "list the releases of a service"),
        "show": ("show", "show a run and its stages"),
        "compare": ("compare", "compare runs side by side"),
        "logs": ("logs", "show the log of a stage"),
        "get": ("get", "fetch the files of a run"),
        "ls": ("ls", "list a folder of a stage, also while it runs"),
        "why": ("why", "explain why a stage is pending"),
        "events": ("events", "list events"),
        "alerts": ("alerts", "list and acknowledge alerts"),
        "audit": ("audit", "list calls and who made them"),
        "usage": ("usage", "show how busy GPUs were"),
    },
    "Run": {
        "run": ("run", "run a pipeline file, or one command"),
        "build": ("build", "build a container image"),
        "deploy": ("deploy", "deploy a service, or a new release of it"),
        "rollback": ("rollback", "undo a release, or return to an earlier one"),
        "wait": ("wait", "wait for runs to end"),
        "cancel": ("cancel", "cancel runs"),
        "scale": ("scale", "change the number of replicas of a service"),
        "stop": ("stop", "stop services"),
        "extend": ("extend", "let a service run longer"),
        "priority": ("priority", "lower a run's priority"),
        "retry": ("retry", "run unsuccessful stages again"),
        "rerun": ("rerun", "run all stages again"),
        "keep": ("keep", "keep a run and all its files"),
        "rm": ("rm", "remove finished runs and their files"),
        "secret": ("secret", "set, list and remove secrets for stages"),
        "token": ("token", "make, list and revoke tokens for services"),
        "gc": ("gc", "free disk space by removing unneeded files"),
    },
    "Machines": {
        "drain": ("drain", "stop placing work on a host"),
        "undrain": ("undrain", "place work on a host again"),
        "images": ("images", "list images for hosts, and send one to hosts"),
        "doctor": ("doctor", "check hosts and show remedies"),
        "host": ("host", "trust a host's key, or remove leftovers from a host"),
        "init": ("init", "write the configuration"),
    },
    "Hostler": {
        "daemon": ("daemon", "start, stop, inspect and install a daemon"),
        "serve": ("serve", "run the daemon in the foreground"),
        "config": ("config", "show the configuration"),
        "schema": ("schema", "print the JSON Schema of pipeline or configuration files"),
        "completion": ("completion", "print a shell completion script"),
        "version": ("version", "show the versions of client and daemon"),
        "demo": ("demo", "try Hostler in a simulated lab, without GPUs"),
    },
}

HIDDEN = {
    "__complete": ("complete", "candidates for a shell's completion"),
    "__demo": ("demo_daemon", "the daemon of a demo"),
}

_ARGUMENT = re.compile(r"argument ([^:]+): (.*)", re.DOTALL)
_CHOICE = re.compile(r"invalid choice: ('.*?') \(choose from (.*)\)", re.DOTALL)
_UNKNOWN = "unrecognized arguments: "
_MISSING = "the following arguments are required: "

LATER_OPTIONS = {
    "--via": "log in where that daemon runs, and use hostler there",
    "--nodes": "a stage runs on one host",
    "--shell": "a stage has no terminal",
}

_REAL_COMMANDS = ("doctor", "init", "host", "serve")
_REAL_DAEMON_ACTIONS = ("start", "restart", "recover", "backup", "restore", "install")


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
            wrong = f"{choice[1]} is not one of {choice[2].replace(chr(39), '')}"
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
            behind = "Options of your own command or script follow --" if self.takes_command else ""
            return f"there is no option {name}", f"Did you mean {near}?" if near else behind
        if self.takes_command:
            return (
                f"{word!r} is an unexpected argument",
                f"Write a command after --: `{self.prog} -- CMD {word}`.",
            )
        return f"{word!r} is an unexpected argument", ""


def nearest_option(name: str, known: Iterable[str]) -> str | None:
    """The long option that was probably meant: one that contains the word, else one with a similar
    spelling."""
    import difflib  # only for mistakes

    options = sorted(option for option in known if option.startswith("--"))
    word = name.lstrip("-")
    holding = [option for option in options if len(word) > 2 and word in option]
    if holding:
        return holding[0]
    near = difflib.get_close_matches(name, options, n=1)
    return near[0] if near else None


def table() -> dict[str, tuple[str, str]]:
    """Every command for users: name -> (module, help)."""
    return {name: entry for group in COMMANDS.values() for name, entry in group.items()}


def dispatch(words: list[str]) -> int:
    """Run the command in the words; the exit code. Raises what the command raises."""
    if not words:
        from hostler.cli.home import run as home

        return home()
    name, rest = words[0], words[1:]
    if name in ("-h", "--help", "help"):
        return _help(rest)
    if name == "--version":
        sys.stdout.write(f"hostler {__version__}\n")
        return 0
    if name.startswith("-"):
        raise InputError(f"unknown option {name}", remedy="Options follow the command")
    module = load(name)
    args = parse(name, module, rest)
    if os.environ.get("HOSTLER_DEMO"):
        refuse_in_demo(name, args)
    code: int = module.run(args)
    return code


def check_words(words: list[str]) -> None:
    """Raise InputError for words that no command can do anything with: bytes that are no text (they
    go to the daemon as JSON, and to host names), and `--option=--`, of which argparse makes a list
    before Python 3.12.5."""
    own = words[: words.index("--")] if "--" in words else words
    for word in words:
        if not is_text(word):
            raise InputError(
                f"{word!r} is not UTF-8", remedy="Write it as UTF-8, or rename the file"
            )
    for word in own:
        option, _, value = word.partition("=")
        if option.startswith("--") and value == "--":
            raise InputError(f"{option} needs a value", remedy=f"Write it like {option} VALUE")


def parse(name: str, module: ModuleType, words: list[str]) -> argparse.Namespace:
    """The arguments of a command. What follows `--` belongs to the person's own command."""
    check_words(words)
    namespace: argparse.Namespace = getattr(module, "Options", argparse.Namespace)()
    own = words
    if getattr(module, "TAKES_WORDS", False):  # whatever they look like
        namespace.words = words
        return namespace
    if getattr(module, "TAKES_COMMAND", False):
        cut = words.index("--") if "--" in words else len(words)
        own, namespace.command = words[:cut], words[cut + 1 :]
        if cut < len(words) and not namespace.command:
            raise InputError("there is no command after --")
    parser = build_parser(name, module)
    if getattr(module, "INTERMIXED", False):  # words that follow an option, `get RUN -o DIR NAME`
        return parser.parse_intermixed_args(own, namespace=namespace)
    return parser.parse_args(own, namespace=namespace)


def load(name: str) -> ModuleType:
    """A command's module. Raises InputError that suggests the nearest name, never guesses."""
    entry = table().get(name) or HIDDEN.get(name)
    if entry is None:
        import difflib  # only for mistakes

        near = difflib.get_close_matches(name, table(), n=1)
        remedy = f"Did you mean `hostler {near[0]}`?" if near else "See `hostler --help`"
        raise InputError(f"there is no command {name!r}", remedy=remedy)
    return importlib.import_module(f"hostler.cli.commands.{entry[0]}")


def build_parser(name: str, module: ModuleType) -> argparse.ArgumentParser:
    """The parser of one command alone: building all parsers takes longer than most answers."""
    entry = table().get(name) or HIDDEN[name]
    options = getattr(module, "Options", None)
    parser = UsageParser(
        prog=f"hostler {name}",
        description=f"{entry[1][0].upper()}{entry[1][1:]}.",
        epilog=getattr(module, "EPILOG", None),
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if options is not None:
        parser.set_defaults(**{k: v for k, v in vars(options).items() if k[0] != "_"})
    module.configure(parser)
    parser.takes_command = bool(getattr(module, "TAKES_COMMAND", False))
    return parser


def _help(rest: list[str]) -> int:
    if rest:
        build_parser(rest[0], load(rest[0])).print_help()
        return 0
    sys.stdout.write(overview())
    return 0


def overview() -> str:
    """The text of `hostler --help`."""
    lines = [
        "usage: hostler [COMMAND] [OPTIONS]",
        "",
        "Show free GPUs and run pipelines on them. Without a command, the screen opens.",
        "",
    ]
    for title, group in COMMANDS.items():
        lines.append(f"{title}:")
        lines += [f"  {name:<11} {text}" for name, (_, text) in group.items()]
        lines.append("")
    lines.append("hostler COMMAND --help describes a command. Exit codes: 0 done or yes, 2 wrong")
    lines.append(
        "usage, 3 no, 4 cannot tell, 5 no daemon, 6 run failed, 7 cancelled or lost, 8 running."
    )
    return "\n".join(lines) + "\n"


def refuse_in_demo(name: str, args: argparse.Namespace) -> None:
    """Raise InputError for a command that is not available in a demo."""
    asked = _real(name, args)
    if asked:
        raise InputError(
            f"`hostler {asked}` is not available in the demo: it would connect to real machines",
            remedy="Quit the demo to use it",
        )


def _real(name: str, args: argparse.Namespace) -> str:
    """The part of a command that refers to real machines, as typed; "" if there is none."""
    if name in _REAL_COMMANDS:
        return name
    if name == "daemon" and args.action in _REAL_DAEMON_ACTIONS:
        return f"daemon {args.action}"
    return "gpus --direct" if name == "gpus" and args.direct else ""
