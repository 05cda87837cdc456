"""What an agent says, as values of the model; whatever does not fit is hostile."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

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
from hostler.model.codec import from_json
from hostler.model.hosts import (
    ForeignContainer,
    Gpu,
    GpuProcess,
    HostFacts,
    KeptTotal,
    Lease,
    Look,
    Machine,
    Workload,
)
from hostler.ports import Exited, GpuFault, Hello, Left, Push
from hostler_agent import wire

T = TypeVar("T")
MAX_GPUS = 128
"""Of one host."""
_MAX_UUIDS = 512
"""GPUs may be exchanged while the connection stands."""
_MAX_LEFT = 512 * 1024
_MAX_FAULT = 500
_MAX_MARK = 128


class LookReader:
    """Puts looks together out of the sections that have changed. What has not is not built anew:
    looks are many, and most of them differ in a few numbers."""

    def __init__(self) -> None:
        self._decoder = wire.LookDecoder()
        self._built: dict[tuple[str, str], tuple[object, tuple[Any, ...]]] = {}
        self.gpus: set[str] = set()
        """UUIDs of all GPUs that any look has had."""

    def read(self, sections: dict[str, Any], asked_at: float) -> Look:
        """The whole look after these sections. Raises Hostile."""
        with _fitting("a look"):
            data = self._decoder.apply(sections, asked_at)
            self._count_gpus({gpu["uuid"] for gpu in data["gpus"]})
            return Look(
                asked_at=data["asked_at"],
                boot_id=data["boot_id"],
                gpus=tuple(self._gpu(gpu) for gpu in data["gpus"]),
                workloads=self._build(Workload, data["workloads"]),
                foreign_containers=self._build(ForeignContainer, data["foreign_containers"]),
                leases=self._build(Lease, data["leases"]),
                machine=from_json(Machine, data["machine"]),
                wall=data["wall"],
                up=data["up"],
                gpu_problem=data["gpu_problem"],
                docker_problem=data["docker_problem"],
                lease_problem=data["lease_problem"],
                left_out=data["left_out"],
                kept=KeptTotal(**data["kept"]),
            )

    def _count_gpus(self, uuids: set[str]) -> None:
        self.gpus |= uuids
        if len(uuids) > MAX_GPUS or len(self.gpus) > _MAX_UUIDS:
            raise Hostile("more GPUs than a host can have")

    def _gpu(self, data: dict[str, Any]) -> Gpu:
        # The decoder has checked every field; only sequences differ from the model's.
        processes = self._build(GpuProcess, data["processes"], data["uuid"])
        return Gpu(**{**data, "throttle": tuple(data["throttle"]), "processes": processes})

    def _build(self, cls: type[T], raw: list[Any], of: str = "") -> tuple[T, ...]:
        key = (cls.__name__, of)
        held = self._built.get(key)
        if held is None or held[0] is not raw:
            held = (raw, tuple(from_json(cls, item) for item in raw))
            self._built[key] = held
        return held[1]


def read_hello(message: dict[str, Any]) -> Hello:
    """The agent's first line. Raises Hostile."""
    with _fitting("a hello"):
        said = wire.decode_hello(message.get("hello"))
        if said["protocol"] != wire.PROTOCOL:
            raise Hostile(f"a hello of protocol {said['protocol']}")
        facts = from_json(HostFacts, said["facts"])
        return Hello(facts, said["boot_id"], said["agent"], _path(said.get("docker_socket")))


def _path(told: str | None) -> str | None:
    """A path that can be one; the doors look in the usual places where there is none."""
    return told if told and told.startswith("/") and told.isprintable() else None


def read_push(message: dict[str, Any]) -> Push | None:
    """What a line without an id says. None for kinds not known here: a newer agent may have more.
    Raises Hostile."""
    if not message.keys() & {"exit", "xid"}:
        return None
    with _fitting("a message"):
        kind, value = wire.decode_push(message)
        if kind == "exit":
            return Exited(from_json(Workload, value), _left(message.get("left")))
        said = clean_line(value["message"], _MAX_FAULT)
        return GpuFault(value["gpu"], value.get("xid"), said)


def _left(told: Any) -> Left | None:
    if told is None:
        return None
    if not isinstance(told["metrics"], bool):
        raise ValueError("left.metrics is neither true nor false")
    log = base64.b64decode(told["log"], validate=True)
    if len(log) > _MAX_LEFT:
        raise ValueError("left.log is too long")
    changed = told.get("changed")
    if changed is not None and (type(changed) is not int or changed < 0):
        raise ValueError("left.changed is no number of files")
    return Left(log, told["metrics"], changed)


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


def _superseded(host: str, error: dict[str, Any]) -> HostError:
    number, mark = error.get("generation"), error.get("mark")
    if type(number) is not int or number < 1 or not isinstance(mark, str) or len(mark) > _MAX_MARK:
        return AgentError(host, "the agent names no generation of the daemon that it works for")
    said = f"a newer generation of this daemon ({number}) uses this host"
    remedy = "see what to do: hostler daemon status"
    return Superseded(host, said, remedy=remedy, number=number, mark=mark)


_REFUSALS = (InputError, NotFoundError, ConflictError)
