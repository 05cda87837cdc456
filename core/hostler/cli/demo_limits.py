"""What is not part of a demo: commands that would reach real machines or the person's files."""

from __future__ import annotations

import argparse

from hostler.base.errors import InputError

_WHOLE = ("doctor", "init", "host", "serve")
_DAEMON = ("start", "restart", "recover", "backup", "restore", "install")


def refuse_in_demo(name: str, args: argparse.Namespace) -> None:
    """Raise InputError for a command that is not part of a demo."""
    asked = _real(name, args)
    if asked:
        raise InputError(
            f"`hostler {asked}` is not part of the demo: it would reach real machines",
            remedy="Leave the demo to use it",
        )


def _real(name: str, args: argparse.Namespace) -> str:
    """The part of a command that means real machines, as it is typed; "" where there is none."""
    if name in _WHOLE:
        return name
    if name == "daemon" and args.action in _DAEMON:
        return f"daemon {args.action}"
    return "gpus --direct" if name == "gpus" and args.direct else ""
