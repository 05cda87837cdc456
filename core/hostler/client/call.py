"""The form of one API call: method, path, body, key, how its answer is read, and the least
timeouts of slow calls and changes. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from hostler.base.wire import target
from hostler.model import views
from hostler.model.codec import from_answer as read
from hostler.show.fleet import checked

T = TypeVar("T")
Decode: TypeAlias = Callable[[object], T]
"""Makes a value of an answer. Raises ValueError with the reason if the answer is invalid."""

CHANGE_S = 60.0
"""Seconds for calls that change something: the daemon answers once the change is durable."""
SLOW_S = 60.0
"""Seconds that a host may take to list a folder or open a file."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request: `body` is a JSON value, bytes that are sent as they are, or None."""

    method: str
    target: str
    decode: Decode[T]
    body: object = field(default=None, repr=False)
    key: str = ""
    """With a key, the call is sent again if its answer is lost: the daemon carries it out once."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers."""
    least: float = 0.0
    """Seconds that the answer may take, where the client's own timeout is shorter."""


def as_object(answer: object) -> dict[str, Any]:
    """An answer that is a JSON object."""
    if not isinstance(answer, dict):
        raise ValueError("is not an object")
    return answer


def as_fleet(answer: object) -> views.gpus.FleetView:
    """The `hostler.gpus/1` object, as it came: `hostler gpus` reads it without the model, too."""
    return checked(answer)


def list_of(member: str) -> Decode[list[dict[str, Any]]]:
    """The list in this member of an answer."""

    def decode(answer: object) -> list[dict[str, Any]]:
        found = as_object(answer).get(member)
        if not isinstance(found, list):
            raise ValueError(f"has no list of {member}")
        return found

    return decode


def run_detail(answer: object) -> views.runs.RunDetail:
    """A run with its stages and attempts."""
    return read(views.runs.RunDetail, answer)


def new_run(answer: object) -> views.runs.NewRun:
    """The same for a new run."""
    return read(views.runs.NewRun, answer)


def stream_line(line: object) -> views.alerts.StreamLine:
    """A line of a stream of events."""
    return read(views.alerts.StreamLine, line)


def nothing(answer: object) -> None:
    """Decodes an answer without content."""


def get(decode: Decode[T], *path: str, least: float = 0.0, **query: object) -> Call[T]:
    """A call that reads."""
    return Call("GET", target(path, query), decode, least=least)


def post(decode: Decode[T], *path: str, body: object = None, key: str = "") -> Call[T]:
    """A call that changes something."""
    return Call("POST", target(path), decode, body, key, least=CHANGE_S)


def delete(decode: Decode[T], *path: str) -> Call[T]:
    """A call that removes something."""
    return Call("DELETE", target(path), decode, least=CHANGE_S)


def new_key() -> str:
    """A key for one submission."""
    return os.urandom(16).hex()
