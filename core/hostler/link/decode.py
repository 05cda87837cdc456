"""What an agent says, as values of the model; whatever does not fit is hostile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hostler.errors import AgentError, HostlerError, error_from_json
from hostler.link.lines import Hostile
from hostler.model.codec import from_json
from hostler.model.hosts import HostFacts, Look, Workload
from hostler.model.jobs import Claimed
from hostler.ports import Exited, GpuFault, Hello, Push
from hostler.text import clean_line
from hostler_agent import wire

_UNFIT = (ValueError, TypeError, KeyError, IndexError, AttributeError)
"""What decoding raises for data that does not fit; all but the first would be an oversight there,
which must not let a host end the daemon."""


class LookReader:
    """Puts looks together out of the sections that have changed."""

    def __init__(self) -> None:
        self._decoder = wire.LookDecoder()

    def read(self, sections: dict[str, Any], asked_at: float) -> Look:
        """The whole look after these sections. Raises Hostile."""
        with _fitting("a look"):
            return from_json(Look, self._decoder.apply(sections, asked_at))


def read_hello(message: dict[str, Any]) -> Hello:
    """The agent's first line. Raises Hostile."""
    with _fitting("a hello"):
        said = wire.decode_hello(message.get("hello"))
        if said["protocol"] != wire.PROTOCOL:
            raise Hostile(f"a hello of protocol {said['protocol']}")
        return Hello(from_json(HostFacts, said["facts"]), said["boot_id"], said["agent"])


def read_push(message: dict[str, Any]) -> Push | None:
    """What a line without an id says. None for kinds not known here: a newer agent may have more.
    Raises Hostile."""
    if not message.keys() & {"exit", "xid"}:
        return None
    with _fitting("a message"):
        kind, value = wire.decode_push(message)
        if kind == "exit":
            return Exited(from_json(Workload, value))
        return GpuFault(value["gpu"], value.get("xid"), value["message"])


def read_claimed(answer: dict[str, Any]) -> Claimed:
    """The answer to a claim. Raises Hostile."""
    with _fitting("a claim's answer"):
        return from_json(Claimed, wire.decode_claimed(answer))


@contextmanager
def _fitting(what: str) -> Iterator[None]:
    try:
        yield
    except _UNFIT as error:
        raise Hostile(f"{what} that cannot be read ({clean_line(str(error), 200)})") from error


def answer_error(host: str, error: object) -> HostlerError:
    """The error that an agent answered with, of the kind it names. Raises Hostile if it is none."""
    if not isinstance(error, dict):
        raise Hostile("an error that is not an object")
    data = {key: clean_line(str(error.get(key, "")), 500) for key in ("kind", "message", "remedy")}
    found = error_from_json({**data, "host": host})
    if isinstance(found, HostlerError) and type(found) is not HostlerError:
        return found
    return AgentError(host, data["message"] or "the agent failed", remedy=data["remedy"])
