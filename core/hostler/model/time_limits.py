"""The keys of a stage about its time limit (`warn`, `on_timeout`), allowed signals, and how often a
stage is requeued (100).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hostler.base.json_types import Json
from hostler.base.keys import Flag, Kind, Shape, read_table, reference, toml_key
from hostler.base.readers import kind_of
from hostler.base.text import shown
from hostler.base.value_kinds import DURATION, choice

SIGNALS: Mapping[str, int] = {
    "HUP": 1, "INT": 2, "QUIT": 3, "USR1": 10, "USR2": 12, "ALRM": 14, "TERM": 15, "CONT": 18,
    "URG": 23, "XCPU": 24, "WINCH": 28,
}  # fmt: skip
"""Signals that a program may catch and that no fault of the program causes, with Linux's
numbers."""


def read_signal(value: Json) -> str:
    """The plain name of a signal: "USR1" of "SIGUSR1" or "usr1". Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"should be the name of a signal, is {kind_of(value)}")
    name = value.upper().removeprefix("SIG")
    if name not in SIGNALS:
        raise ValueError(f"{shown(value)} is not one of: {', '.join(SIGNALS)}")
    return name


class WarnTo(StrEnum):
    """Which process of a stage gets the warning."""

    COMMAND = "command"
    """The command itself; if it is a shell that does not catch the signal, the program that the
    shell runs."""
    CHILDREN = "children"
    """Never the command: the nearest processes below it that catch the signal."""


_TO = choice(*(each.value for each in WarnTo))


@dataclass(frozen=True, slots=True)
class Warn:
    """A signal before the time limit."""

    signal: str = field(
        metadata=toml_key(
            Kind(
                read_signal,
                {"type": "string", "pattern": f"^(?:SIG)?(?:{'|'.join(SIGNALS)})$"},
            ),
            "Name of the signal, like USR1.",
        )
    )
    before: float = field(metadata=toml_key(DURATION, "How long before the time limit it is sent."))
    to: WarnTo = field(
        default=WarnTo.COMMAND,
        metadata=toml_key(
            Kind(lambda value: WarnTo(str(_TO.read(value))), _TO.schema),
            "Who gets it: the command (behind a shell, what the shell runs), or only the nearest "
            "processes below the command that catch it.",
        ),
    )


class OnTimeout(StrEnum):
    """What follows an attempt that reached its time limit."""

    FAIL = "fail"
    """It has failed; `retries` may try it again."""
    REQUEUE = "requeue"
    """Another attempt continues, if this one has written to its checkpoint."""


def _read_warn(value: Json) -> object:
    """A table, or "USR1@4m" in short."""
    if isinstance(value, str):
        signal, at, before = value.partition("@")
        if not at:
            raise ValueError(f"{shown(value)} should be a signal and a time, like USR1@4m")
        return read_table(Warn, {"signal": signal, "before": before})
    if isinstance(value, dict):
        return read_table(Warn, value)
    raise ValueError(f"should be a table, or text like USR1@4m, is {kind_of(value)}")


WARN = toml_key(
    Kind(
        _read_warn,
        {"anyOf": [reference(Warn), {"type": "string", "pattern": "^[A-Za-z0-9]+@.+$"}]},
        Shape.TEXT,
        tables=(Warn,),
    ),
    "A signal before the time limit, so that the command saves its state.",
    flag=Flag("--warn", "SIGNAL@TIME", "send this signal before the time limit, like USR1@4m"),
)
_ON_TIMEOUT = choice(*(each.value for each in OnTimeout))
ON_TIMEOUT = toml_key(
    Kind(lambda value: OnTimeout(str(_ON_TIMEOUT.read(value))), _ON_TIMEOUT.schema),
    "At the time limit: fail, or resume from the checkpoint in another attempt.",
    flag=Flag(
        "--on-timeout", "", "at the time limit: fail, or resume from the checkpoint (--checkpoint)"
    ),
)


@dataclass(frozen=True, slots=True)
class Reached:
    """A process that a warning was meant for."""

    pid: int
    name: str


@dataclass(frozen=True, slots=True)
class CheckpointSeen:
    """A host's report about the checkpoint of an attempt that has ended."""

    newest: float | None = None
    """When the last of its files was written, by the host's clock; None: there are none, or only
    files with a time in the future."""
    problem: str = ""
    """Why it is not known."""


MOST_REQUEUES = 100
"""Most requeues of one stage of a run: with a limit of a day, more than three months."""


@dataclass(frozen=True, slots=True)
class Warned:
    """A host's report about the warning of a stage."""

    sent: tuple[Reached, ...] = ()
    deaf: tuple[Reached, ...] = ()
    """Processes that would have got it, and do not catch it."""
    denied: tuple[Reached, ...] = ()
    """Those that catch it, and that the login may not signal."""
    problem: str = ""
    """Why none of this is known."""
