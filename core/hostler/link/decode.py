"""What an agent says, as values of the model; whatever does not fit is hostile."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager

from hostler.base.checks import boolean, count, optional, record, whole_text
from hostler.base.errors import (
    AgentError,
    ConflictError,
    EngineError,
    HostError,
    InputError,
    NotFoundError,
    Refused,
    Superseded,
    error_from_json,
)
from hostler.base.text import clean_line
from hostler.link.answers import UNFIT
from hostler.link.lines import Hostile
from hostler.model.host_reports import LookDecoder, fault, greeting, workload
from hostler.model.hosts import Look
from hostler.ports import Exited, GpuFault, Hello, Left, Push
from hostler_agent import wire
from hostler_agent.json_values import Json, Message

_MAX_UUIDS = 512
"""GPUs may be exchanged while the connection stands."""
_MAX_LEFT = 512 * 1024
_MAX_FAULT = 500
_MAX_MARK = 128
_LEFT = record({"log": whole_text, "metrics": boolean}, {"changed": optional(count)})


class LookReader:
    """Reads the looks of one connection, and counts the GPUs that they name."""

    def __init__(self) -> None:
        self._decoder = LookDecoder()
        self.gpus: set[str] = set()
        """UUIDs of all GPUs that any look has had."""

    def read(self, sections: Json, asked_at: float) -> Look:
        """The whole look after these sections. Raises Hostile."""
        with _fitting("a look"):
            look = self._decoder.apply(sections, asked_at)
        self.gpus |= {gpu.uuid for gpu in look.gpus}
        if len(self.gpus) > _MAX_UUIDS:
            raise Hostile("more GPUs than a host can have")
        return look


def read_hello(message: Message) -> Hello:
    """The agent's first line. Raises Hostile."""
    with _fitting("a hello"):
        said = greeting(message.get("hello"), "hello")
        if said.protocol != wire.PROTOCOL:
            raise Hostile(f"a hello of protocol {said.protocol}")
        return Hello(said.facts, said.boot_id, said.agent, _path(said.docker_socket))


def _path(told: str | None) -> str | None:
    """A path that can be one; the doors look in the usual places where there is none."""
    return told if told and told.startswith("/") and told.isprintable() else None


def read_push(message: Message) -> Push | None:
    """What a line without an id says. None for kinds not known here: a newer agent may have more.
    Raises Hostile."""
    with _fitting("a message"):
        if "exit" in message:
            return Exited(workload(message["exit"], "exit"), _left(message.get("left")))
        if "xid" in message:
            told = fault(message["xid"], "xid")
            return GpuFault(told.gpu, told.xid, clean_line(told.message, _MAX_FAULT))
    return None


def _left(told: Json) -> Left | None:
    if told is None:
        return None
    said = _LEFT(told, "left")
    log = base64.b64decode(said["log"], validate=True)
    if len(log) > _MAX_LEFT:
        raise ValueError("left.log is too long")
    return Left(log, said["metrics"], said.get("changed"))


@contextmanager
def _fitting(what: str) -> Iterator[None]:
    try:
        yield
    except UNFIT as error:
        raise Hostile(f"{what} that cannot be read ({clean_line(str(error), 200)})") from error


def answer_error(host: str, error: object, *, may_refuse: bool = False) -> HostError | InputError:
    """The error that an agent answered with, of the kind it names. Only where what was asked
    `may_refuse` (see `answers.may_refuse`) is it an InputError. Raises Hostile if it is none."""
    if not isinstance(error, dict):
        raise Hostile("an error that is not an object")
    data = {key: clean_line(str(error.get(key, "")), 500) for key in ("kind", "message", "remedy")}
    found = error_from_json({**data, "host": host})
    if isinstance(found, Superseded):
        return _superseded(host, error)
    if isinstance(found, EngineError):
        status = error.get("status")
        return EngineError(
            host, found.message, remedy=found.remedy, status=status if type(status) is int else 0
        )
    if isinstance(found, HostError) and not isinstance(found, Refused):
        return found
    if isinstance(found, InputError) and may_refuse and type(found) in _REFUSALS:
        return found
    return AgentError(host, found.message or "the agent failed", remedy=found.remedy)


def _superseded(host: str, error: Message) -> HostError:
    number, mark = error.get("generation"), error.get("mark")
    if type(number) is not int or number < 1 or not isinstance(mark, str) or len(mark) > _MAX_MARK:
        return AgentError(host, "the agent did not send the generation of its daemon")
    said = f"a newer generation of this daemon ({number}) uses this host"
    remedy = "see what to do: hostler daemon status"
    return Superseded(host, said, remedy=remedy, number=number, mark=mark)


_REFUSALS = (InputError, NotFoundError, ConflictError)
