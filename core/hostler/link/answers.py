"""The fields and limits of the agent's answers to requests, checked as they are read into values of
the model; which errors a request may be refused with. All that is read of it has been checked here;
whatever does not fit is hostile.

A host may say anything. What does not fit is an error of that host alone, and fields that are not
known here are dropped: a newer agent may have more. docs/protocol.md has the same as a table.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from hostler.base.checks import (
    Check,
    boolean,
    count,
    identifier,
    listed,
    mapping,
    number,
    one_of,
    optional,
    record,
    text,
    whole_text,
)
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
from hostler.link.lines import Hostile
from hostler.model.codec import to_json
from hostler.model.host_reports import LookDecoder, claimed, fault, greeting, workload
from hostler.model.hosts import Look
from hostler.model.runtimes import NAMES
from hostler.ports import Exited, Hello, Left, Push
from hostler_agent import wire
from hostler_agent.json_values import Json, Message

_MOST_RUNS = 100_000
_MOST_SERVICES = 1000
_MOST_ADDRESSES = 1000
_MOST_DAEMONS = 64
_MOST_CHECKS = 1000
_MOST_KINDS = 10
_MOST_KEPT = 10_000
UNFIT = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""Exceptions of reading invalid data; all but the first would be a bug there, and a host must not
end the daemon by it."""

_MAX_UUIDS = 512
"""GPUs may be replaced while the connection is open."""
_MAX_LEFT = 512 * 1024
_MAX_FAULT = 500
_MAX_MARK = 128
_LEFT = record({"log": whole_text, "metrics": boolean}, {"changed": optional(count)})


def checked(host: str, verb: str, answer: Json) -> dict[str, Any]:
    """The answer to a request, without unknown fields. Raises AgentError if it is invalid."""
    check = _FORMS.get(verb)
    try:
        if check is None:
            raise ValueError("there is no such request")
        return check(answer, verb)
    except UNFIT as error:
        said = clean_line(str(error), 200)
        raise AgentError(host, f"the agent's answer to {verb} cannot be read ({said})") from error


def may_refuse(verb: str) -> bool:
    """Whether a refusal may be our own fault, as for a job or leases. Requests about the host as a
    whole are always valid, so a refusal is a fault of the host."""
    return verb.startswith(("job.", "container.")) or verb in (
        "claim",
        "bind",
        "release",
        "blob.has",
        "secret.put",
    )


def _base64(value: Json, where: str) -> str:
    base64.b64decode(whole_text(value, where), validate=True)
    return whole_text(value, where)


def _told(check: Check[object]) -> Check[dict[str, Any]]:
    """A value of the model, as the object for its reader."""
    return lambda value, where: to_json(check(value, where))


_claimed, _workload = _told(claimed), _told(workload)


def _stopped(value: Json, where: str) -> dict[str, Any]:
    """A workload, or None if the job no longer exists."""
    return {} if value == {} else _workload(value, where)


_none = record({}, {})
_stat = record(
    {"path": whole_text},
    {
        "real": optional(whole_text), "exists": boolean, "is_dir": boolean, "readable": boolean,
        "writable": boolean, "shared": boolean, "token_ok": boolean,
    },
)  # fmt: skip
_metrics = record(
    {"text": whole_text, "next": count, "mtime": number, "size": count}, {"mark": text}
)
_kept = record(
    {
        "attempt_id": identifier, "runtime": one_of(*NAMES), "ref": identifier,
        "until": number, "files": count, "bytes": count, "path": text, "exists": boolean,
    },
    {},
)  # fmt: skip
_check = record({"check": text, "state": text}, {"message": text, "remedy": optional(text)})

_setup = record(
    {"state": one_of("running", "ready", "failed")},
    {
        "exit_code": optional(count), "signal": optional(count), "late": boolean,
        "error": optional(text),
    },
)  # fmt: skip
_python = record(
    {"implementation": text, "python": text, "soabi": text, "machine": text, "glibc": text},
    {"pip": text, "markers": mapping},
)
_cleaned = record({"what": text, "count": count, "bytes": count, "names": listed(text)}, {})

_MOST_REACHED = 100
_reached = listed(record({"pid": count, "name": text}, {}), _MOST_REACHED)
_written = record({"newest": optional(number), "problem": text}, {})
_warned = record({"sent": _reached, "deaf": _reached, "denied": _reached, "problem": text}, {})

_MOST_NESTED = 64
_nested = record({"attempt_id": identifier, "id": identifier, "data": _base64}, {})
_MOST_SERVERS, _MOST_STEPS = 2000, 200
_counts = record(
    {
        "service": identifier, "server": identifier, "requests": count, "failed": count,
        "cut": count, "steps": listed(count, _MOST_STEPS),
    },
    {},
)  # fmt: skip
_MOST_WAYS = 1000
_way = record(
    {"host": identifier, "state": one_of("connecting", "connected", "failed"), "said": text,
     "at": number, "open": listed(identifier)},
    {},
)  # fmt: skip
_MOST_PORTS = 1000
_taken = record({"port": count, "why": text}, {})
_program = record(
    {"program": optional(whole_text), "version": text, "libraries": listed(whole_text, 100)}, {}
)

_FORMS: dict[str, Check[dict[str, Any]]] = {
    "claim": _claimed,
    "bind": _claimed,
    "release": _none,
    "ping": _none,
    "job.create": _none,
    "job.place": _none,
    "job.prepare": _setup,
    "job.packages": record({"started": boolean}, {"text": whole_text, "python": _python}),
    "job.wheels": record({"ready": boolean}, {}),
    "job.start": _workload,
    "job.signal": _none,
    "job.stop": _stopped,
    "job.remove": _none,
    "job.inspect": record({"workload": optional(_workload)}, {}),
    "job.metrics": _metrics,
    "container.metrics": _metrics,
    "container.check": _none,
    "job.warn": _warned,
    "job.checkpoint": _written,
    "container.checkpoint": _written,
    "container.warn": _warned,
    "job.log": record({"offset": count, "data": _base64, "end": boolean}, {}),
    "stat": record({"paths": listed(_stat)}, {}),
    "doctor": record({"checks": listed(_check, _MOST_CHECKS)}, {"at": number}),
    "blob.has": record({"size": count, "complete": boolean}, {}),
    "listening": record({"addresses": listed(text, _MOST_ADDRESSES)}, {}),
    "gc": record({"freed": count}, {}),
    "gc.checkpoints": record({"removed": count}, {}),
    "run.keep": record({"spec": boolean}, {}),
    "run.list": record(
        {"runs": listed(identifier, _MOST_RUNS)}, {"others": listed(identifier, _MOST_DAEMONS)}
    ),
    "run.read": record({"spec": optional(whole_text), "lines": whole_text, "next": count}, {}),
    "run.forget": record({"removed": count}, {}),
    "service.keep": record({"kept": boolean}, {}),
    "service.list": record({"services": listed(identifier, _MOST_SERVICES)}, {}),
    "service.read": record({"line": whole_text}, {}),
    "kept.list": record({"kept": listed(_kept, _MOST_KEPT)}, {}),
    "kept.forget": _none,
    "clean": record({"found": listed(_cleaned, _MOST_KINDS), "busy": text}, {}),
    "environment": record({"problem": optional(text)}, {}),
    "secret.put": record({"folder": whole_text}, {}),
    "nested.open": record({"folder": whole_text}, {}),
    "nested.list": record({"requests": listed(_nested, _MOST_NESTED)}, {}),
    "nested.answer": _none,
    "gateway.put": record({"folder": whole_text}, {}),
    "gateway.remove": _none,
    "gateway.find": _program,
    "gateway.forwards": record(
        {"argv": listed(whole_text, 100), "wanted": whole_text, "hosts": listed(_way, _MOST_WAYS)},
        {},
    ),
    "gateway.ports": record({"taken": listed(_taken, _MOST_PORTS)}, {}),
    "gateway.reach": record({"why_not": text}, {}),
    "gateway.log": record(
        {"since": number, "left_out": count, "servers": listed(_counts, _MOST_SERVERS)}, {}
    ),
    "run.ended": record({"lines": whole_text, "next": count}, {}),
}


class LookReader:
    """Reads the looks of one connection, and counts the GPUs that they name."""

    def __init__(self) -> None:
        self._decoder = LookDecoder()
        self.gpus: set[str] = set()
        """UUIDs of all GPUs that were in any look."""

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
    """A valid path; without one the doors try the usual places."""
    return told if told and told.startswith("/") and told.isprintable() else None


def read_push(message: Message) -> Push | None:
    """The push in a line without an id. None for unknown kinds: a newer agent may have more. Raises
    Hostile."""
    with _fitting("a message"):
        if "exit" in message:
            return Exited(workload(message["exit"], "exit"), _left(message.get("left")))
        if "xid" in message:
            told = fault(message["xid"], "xid")
            return replace(told, message=clean_line(told.message, _MAX_FAULT))
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
    """The error that an agent answered with, of the kind it names. It is an InputError only if the
    request `may_refuse` (see `answers.may_refuse`). Raises Hostile if it is none."""
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
