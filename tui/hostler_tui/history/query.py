"""The query of the history screen: its filter fields, page size, first order, and the equivalent
command line. Pure except for reading the clock for times that are given as an age."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from typing import TypedDict

from hostler.base.dates import past_time
from hostler.base.users import owner_named
from hostler_tui.filtering import Filter, Term

FIELDS = ("pipeline", "owner", "state", "since", "until", "releases", "param.", "metric.")
"""Fields of the filter; the last two are followed by the name of a parameter or metric."""

PAGE = 200
"""Runs in the first request; the end of the list requests more."""


@dataclass(frozen=True, slots=True)
class Order:
    """The sort key of runs, in the daemon's words."""

    name: str = "submitted"
    down: bool = True

    def by(self, name: str) -> Order:
        """Sort by this key; the same key again reverses the order."""
        return replace(self, down=not self.down) if name == self.name else Order(name)

    @property
    def text(self) -> str:
        """ "-val_acc"."""
        return f"-{self.name}" if self.down else self.name


class Asked(TypedDict, total=False):
    """The arguments of the client's `history`."""

    pipeline: str
    owner: str | None
    state: str
    since: float
    until: float
    param: tuple[str, ...]
    metric: tuple[str, ...]
    text: str
    sort: str
    releases: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A query, and the parts of the filter that it cannot contain."""

    asked: Asked = field(default_factory=Asked)
    problem: str = ""


def query_of(filter: Filter, order: Order) -> Query:
    """The query for a filter."""
    asked: Asked = {"sort": order.text, "releases": False}
    words: list[str] = []
    for term in filter.terms:
        problem = _take(asked, words, term, filter.text)
        if problem:
            return Query(asked, problem)
    if words:
        asked["text"] = " ".join(words)
    return Query(asked)


def _take(asked: Asked, words: list[str], term: Term, typed: str) -> str:
    """Add a term to the query; the error, or ""."""
    group, _, name = term.field.partition(".")
    if not term.field and term.op == "~":
        words.append(term.value)
    elif group in ("param", "metric") and not term.op.endswith("~"):
        whole = f"{_as_typed(name, typed)}{term.op}{term.value}"
        if group == "param":
            asked["param"] = (*asked.get("param", ()), whole)
        else:
            asked["metric"] = (*asked.get("metric", ()), whole)
    elif term.op != "=":
        what = f"{term.field}{term.op}" if term.field else "!"
        return f"{what} is not supported in the history: use =, and < > for param. and metric."
    else:
        return _take_field(asked, term)
    return ""


def _take_field(asked: Asked, term: Term) -> str:
    """Add a field's required value to the query."""
    try:
        if term.field == "since":
            asked["since"] = past_time(term.value)
        elif term.field == "until":
            asked["until"] = past_time(term.value)
        elif term.field == "owner":
            asked["owner"] = owner_named(term.value)
        elif term.field == "state":
            asked["state"] = term.value
        elif term.field == "releases":
            asked["releases"] = _is_yes(term.value)
        else:
            asked["pipeline"] = term.value
    except ValueError as error:
        return str(error)
    return ""


def _is_yes(text: str) -> bool:
    if text in ("yes", "no"):
        return text == "yes"
    raise ValueError("releases is yes or no: whether runs of releases are shown")


def _as_typed(name: str, typed: str) -> str:
    """A parameter's name with the capital letters that the filter drops."""
    place = typed.lower().find(f".{name}")
    return typed[place + 1 : place + 1 + len(name)] if place >= 0 else name


def command_of(filter: Filter, order: Order) -> str:
    """The same on the command line."""
    args = ["hostler", "runs"]
    words = []
    for term in filter.terms:
        group, _, name = term.field.partition(".")
        if not term.field:
            words.append(term.value)
        elif group in ("param", "metric"):
            args += [f"--{group}", f"{_as_typed(name, filter.text)}{term.op}{term.value}"]
        elif term.field == "releases":
            args += ["--releases"] if term.value == "yes" else []
        else:
            args += [f"--{term.field}", term.value]
    if words:
        args += ["--text", " ".join(words)]
    if order != Order():
        args.append(f"--sort={order.text}")
    return shlex.join(args)
