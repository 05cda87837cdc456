"""Reads what a host says. All of it is hostile input: checked, capped, unknown fields dropped.

Everything here returns plain dicts with the field names of the daemon's model, and raises
ValueError for anything that does not fit.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Optional, Tuple

MIB = 1024 * 1024
MAX_GPUS = 64
MAX_ITEMS = 4096
"""Of workloads, leases, foreign containers; and of processes on one GPU."""
MAX_TEXT = 4096
_BIG = 2**63 - 1

Check = Callable[[Any, str], Any]


def text(value: Any, where: str) -> str:
    """A string, at most `MAX_TEXT` characters kept, lone surrogates replaced."""
    if not isinstance(value, str):
        raise ValueError("%s: should be text, is %s" % (where, type(value).__name__))
    short = value[:MAX_TEXT]
    return short if short.isascii() else short.encode("utf-8", "replace").decode("utf-8")


def identifier(value: Any, where: str) -> str:
    """A short non-empty printable string without spaces: a UUID, an id."""
    short = text(value, where)
    if not 0 < len(short) <= 255 or not short.isprintable() or " " in short:
        raise ValueError("%s: is not an identifier" % where)
    return short


def integer(value: Any, where: str) -> int:
    """An int that fits 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _BIG:
        raise ValueError("%s: should be a whole number" % where)
    return value


def count(value: Any, where: str) -> int:
    """An int, not negative."""
    if integer(value, where) < 0:
        raise ValueError("%s: is negative" % where)
    return int(value)


def number(value: Any, where: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > _BIG:
        raise ValueError("%s: should be a number" % where)
    if not math.isfinite(value):
        raise ValueError("%s: is not finite" % where)
    return float(value)


def boolean(value: Any, where: str) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError("%s: should be true or false" % where)
    return value


def optional(check: Check) -> Check:
    """`check`, or None."""

    def checked(value: Any, where: str) -> Any:
        return None if value is None else check(value, where)

    return checked


def listed(check: Check, most: int = MAX_ITEMS) -> Check:
    """A list of what `check` accepts, at most `most` long."""

    def checked(value: Any, where: str) -> List[Any]:
        if not isinstance(value, list):
            raise ValueError("%s: should be a list, is %s" % (where, type(value).__name__))
        if len(value) > most:
            raise ValueError("%s: %d items are too many" % (where, len(value)))
        return [check(item, where) for item in value]

    return checked


def one_of(*words: str) -> Check:
    """One of these words."""

    def checked(value: Any, where: str) -> str:
        if value not in words or not isinstance(value, str):
            raise ValueError("%s: should be one of %s" % (where, ", ".join(words)))
        return value

    return checked


def record(required: Dict[str, Check], others: Dict[str, Check]) -> Check:
    """An object: `required` keys must be there, `others` may be, further ones are dropped."""
    every = {**required, **others}

    def checked(value: Any, where: str) -> Dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError("%s: should be an object, is %s" % (where, type(value).__name__))
        for key in required:
            if key not in value:
                raise ValueError("%s: %s is missing" % (where, key))
        return {
            key: check(value[key], "%s.%s" % (where, key))
            for key, check in every.items()
            if key in value
        }

    return checked


def row(*checks: Check) -> Check:
    """A list of exactly these columns."""

    def checked(value: Any, where: str) -> Tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != len(checks):
            raise ValueError("%s: should be a row of %d" % (where, len(checks)))
        return tuple(check(item, where) for check, item in zip(checks, value))

    return checked


_text, _number, _count, _integer = (optional(c) for c in (text, number, count, integer))
_uuids = listed(identifier, MAX_GPUS)

_process = record(
    {"pid": count, "kind": one_of("compute", "graphics")},
    {
        "user": _text, "command": _text, "memory": _count, "container_id": _text,
        "attempt_id": _text, "started_at": _number, "exists": boolean,
    },
)  # fmt: skip
_workload = record(
    {
        "attempt_id": identifier, "daemon_id": identifier,
        "runtime": one_of("docker", "process"), "ref": identifier, "running": boolean,
    },
    {
        "created_only": boolean, "exit_code": _integer, "signal": _integer, "oom_killed": boolean,
        "engine_restarted": boolean, "gpu_cut_off": boolean, "error": _text, "started_at": _number,
        "finished_at": _number, "started_up": _number, "gpus": _uuids, "owner": _text,
    },
)  # fmt: skip
_foreign = record(
    {"container_id": identifier, "name": text, "image": text, "gpus": _uuids}, {}
)  # fmt: skip
_lease = record(
    {
        "lease_id": identifier, "gpu": identifier, "daemon_id": identifier, "owner": text,
        "attempt_id": optional(identifier), "claimed_at": number,
    },
    {
        "until": _number, "boot_id": _text, "workload": _text, "stale": boolean, "uid": _count,
        "user": _text,
    },
)  # fmt: skip
_facts = record(
    {},
    {
        "hostname": _text, "kernel": _text, "os": _text, "python": _text, "driver": _text,
        "cuda": _text, "cpus": _count, "memory_total": _count, "docker": _text,
        "docker_gpu": _text, "docker_limits": boolean,
        "runtimes": listed(one_of("docker", "process"), 8), "uid": _count, "gid": _count,
        "groups": listed(count), "home": _text, "user": _text,
    },
)  # fmt: skip
_hello = record(
    {"protocol": count, "agent": text, "boot_id": text, "facts": _facts},
    {"docker_socket": _text},
)  # fmt: skip
_disk = row(text, count, count)

_names = listed(row(identifier, count, _text, _count, _number), MAX_GPUS)
_g = listed(row(_number, _number, _number, _number, _number, _number), MAX_GPUS)
_throttle = listed(text, 16)
_slow = listed(
    row(_count, optional(_throttle), optional(boolean), _number, _text), MAX_GPUS
)  # fmt: skip
_machine = row(_number, _count, _count, listed(_disk, 64))
_clock = row(number, _number)
_trouble = record({}, {"gpu": _text, "docker": _text, "leases": _text, "lists": _text})


def _procs(value: Any, where: str) -> Dict[str, List[Any]]:
    if not isinstance(value, dict) or len(value) > MAX_GPUS:
        raise ValueError("%s: should be an object, one key a GPU" % where)
    check = listed(_process)
    return {identifier(key, where): check(item, where) for key, item in value.items()}


_SECTIONS: Dict[str, Check] = {
    "boot": text, "names": _names, "g": _g, "slow": _slow, "procs": _procs,
    "work": listed(_workload), "foreign": listed(_foreign), "leases": listed(_lease),
    "machine": _machine, "trouble": _trouble, "clock": _clock, "kept": row(count, count),
}  # fmt: skip


def decode_workload(value: Any) -> Dict[str, Any]:
    """A `Workload` as the model's fields."""
    result: Dict[str, Any] = _workload(value, "workload")
    return result


def decode_claimed(value: Any) -> Dict[str, Any]:
    """A `Claimed` as the model's fields."""
    check = record({}, {"lease_ids": listed(identifier, MAX_GPUS), "refused": _text})
    result: Dict[str, Any] = check(value, "claimed")
    return result


def decode_hello(value: Any) -> Dict[str, Any]:
    """What is under "hello" in the agent's first line, by the fields of `_hello`."""
    result: Dict[str, Any] = _hello(value, "hello")
    return result


def decode_push(message: Dict[str, Any]) -> Tuple[str, Dict[str, Any]]:
    """A line without an id: ("exit", Workload) or ("xid", {"gpu", "xid", "message"})."""
    if "exit" in message:
        return "exit", decode_workload(message["exit"])
    if "xid" in message:
        check = record({"gpu": identifier, "message": text}, {"xid": _count})
        return "xid", check(message["xid"], "xid")
    raise ValueError("a line is neither an answer nor a push")


class LookDecoder:
    """Puts the parts of successive looks together again. One per connection."""

    def __init__(self) -> None:
        self._known: Dict[str, Any] = {}

    def apply(self, sections: Any, asked_at: float) -> Dict[str, Any]:
        """A whole `Look` as the model's fields, after an answer with these sections.

        Raises ValueError, leaving what is known as it was, when they do not fit.
        """
        if not isinstance(sections, dict):
            raise ValueError("look: should be an object")
        known = dict(self._known)
        for name, check in _SECTIONS.items():
            if name in sections:
                known[name] = check(sections[name], name)
        look = _look(known, asked_at)
        self._known = known
        return look


def _look(known: Dict[str, Any], asked_at: float) -> Dict[str, Any]:
    trouble = known.get("trouble", {})
    if "boot" not in known:
        raise ValueError("look: boot is missing")
    machine: Any = known.get("machine") or (None, None, None, [])
    wall, up = known.get("clock") or (None, None)
    kept = known.get("kept") or (0, 0)
    return {
        "asked_at": asked_at,
        "boot_id": known["boot"],
        "gpus": _gpus(known),
        "workloads": known.get("work", []),
        "foreign_containers": known.get("foreign", []),
        "leases": known.get("leases", []),
        "machine": {
            "load1": machine[0],
            "memory_total": machine[1],
            "memory_available": machine[2],
            "disks": [{"path": d[0], "total": d[1], "free": d[2]} for d in machine[3]],
        },
        "wall": wall,
        "up": up,
        "gpu_problem": trouble.get("gpu"),
        "docker_problem": trouble.get("docker"),
        "lease_problem": trouble.get("leases"),
        "left_out": trouble.get("lists"),
        "kept": {"count": kept[0], "bytes": kept[1]},
    }


def _gpus(known: Dict[str, Any]) -> List[Dict[str, Any]]:
    names, values = known.get("names", []), known.get("g", [])
    slow, procs = known.get("slow", []), known.get("procs", {})
    if not len(names) == len(values) == len(slow):
        raise ValueError("look: names, g and slow differ in length")
    if len({n[0] for n in names}) != len(names):
        raise ValueError("names: a UUID is there twice")
    return [
        _gpu(n, g, s, procs.get(n[0], [])) for n, g, s in zip(names, values, slow)
    ]  # fmt: skip


def _gpu(n: Any, g: Any, s: Any, processes: List[Any]) -> Dict[str, Any]:
    used: Optional[float] = g[0]
    return {
        "uuid": n[0], "index": n[1], "name": n[2], "memory_total": n[3], "power_limit": n[4],
        "memory_used": None if used is None else int(used * MIB),
        "utilization": g[1], "temperature": g[2], "power": g[3], "clock_sm": g[4],
        "clock_memory": g[5], "ecc_errors": s[0], "throttle": s[1] or [], "mig": s[2],
        "energy": s[3], "problem": s[4], "processes": processes,
    }  # fmt: skip
