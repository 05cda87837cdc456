"""The sentence on a signal sent before the time limit: to which processes, or why to none. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hostler.base.text import clean_line
from hostler.base.units import format_duration
from hostler.model.time_limits import Reached, Warn, Warned, WarnTo

_MOST = 3
_LONGEST = 32
"""Longest process name that is shown, in characters: a program may choose its name."""


def warning_sentence(warn: Warn, answer: Warned) -> str:
    """ "USR1 sent to python3 (process 123), 4m before the time limit"; or why no process got it."""
    if answer.sent:
        before = format_duration(warn.before)
        also = f"; {_denied(answer)}" if answer.denied else ""
        return f"{warn.signal} sent to {_named(answer.sent)}, {before} before the time limit{also}"
    return f"{warn.signal} was not sent: {_why(warn, answer)}"


def _why(warn: Warn, answer: Warned) -> str:
    if answer.problem:
        return clean_line(answer.problem, 200)
    if answer.denied:
        return _denied(answer)
    if not answer.deaf:
        return "the command started no process" if _below(warn) else "its process has just ended"
    verb = "does" if len(answer.deaf) == 1 else "do"
    said = f"{_named(answer.deaf)} {verb} not catch it"
    return said if _below(warn) else f'{said} (to = "children" asks its child processes)'


def _below(warn: Warn) -> bool:
    return warn.to is WarnTo.CHILDREN


def _denied(answer: Warned) -> str:
    return f"the login may not signal {_named(answer.denied)}"


def _named(processes: Sequence[Reached]) -> str:
    told = [f"{clean_line(each.name, _LONGEST)} (process {each.pid})" for each in processes[:_MOST]]
    if len(processes) > _MOST:
        told.append(f"{len(processes) - _MOST} more")
    return " and ".join(filter(None, (", ".join(told[:-1]), told[-1])))
