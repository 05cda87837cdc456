"""The form of an agent's answer to each request: all that is read of it has been checked here.

A host may say anything. What does not fit is an error of that host alone, and fields that are not
known here are dropped: a newer agent may have more. docs/protocol.md has the same as a table.
"""

from __future__ import annotations

import base64
from typing import Any

from hostler.base.checks import (
    Check,
    boolean,
    count,
    identifier,
    listed,
    number,
    one_of,
    optional,
    record,
    text,
    whole_text,
)
from hostler.base.errors import AgentError
from hostler.base.text import clean_line
from hostler.model.codec import to_json
from hostler.model.host_reports import claimed, workload
from hostler.model.runtimes import NAMES
from hostler_agent.json_values import Json

_MOST_RUNS = 100_000
_MOST_DAEMONS = 64
_MOST_CHECKS = 1000
_MOST_KINDS = 10
_MOST_KEPT = 10_000
UNFIT = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""What reading raises for data that does not fit; all but the first would be an oversight there,
which must not let a host end the daemon."""


def checked(host: str, verb: str, answer: Json) -> dict[str, Any]:
    """The answer to a request, as far as it is known. Raises AgentError where it does not fit."""
    check = _FORMS.get(verb)
    try:
        if check is None:
            raise ValueError("there is no such request")
        return check(answer, verb)
    except UNFIT as error:
        said = clean_line(str(error), 200)
        raise AgentError(host, f"the agent's answer to {verb} cannot be read ({said})") from error


def may_refuse(verb: str) -> bool:
    """Whether it may be our own fault that a request is not done: of a job, of leases. What is
    asked of the host as a whole is never wrong, so that a refusal is the host's trouble."""
    return verb.startswith(("job.", "container.")) or verb in (
        "claim",
        "bind",
        "release",
        "blob.has",
    )


def _base64(value: Json, where: str) -> str:
    base64.b64decode(whole_text(value, where), validate=True)
    return whole_text(value, where)


def _told(check: Check[object]) -> Check[dict[str, Any]]:
    """A value of the model, as the object that whoever reads it expects."""
    return lambda value, where: to_json(check(value, where))


_claimed, _workload = _told(claimed), _told(workload)


def _stopped(value: Json, where: str) -> dict[str, Any]:
    """A workload; nothing where there is no such job any more."""
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

_cleaned = record({"what": text, "count": count, "bytes": count, "names": listed(text)}, {})

_FORMS: dict[str, Check[dict[str, Any]]] = {
    "claim": _claimed,
    "bind": _claimed,
    "release": _none,
    "ping": _none,
    "job.create": _none,
    "job.place": _none,
    "job.start": _workload,
    "job.signal": _none,
    "job.stop": _stopped,
    "job.remove": _none,
    "job.inspect": record({"workload": optional(_workload)}, {}),
    "job.metrics": _metrics,
    "container.metrics": _metrics,
    "container.check": _none,
    "job.log": record({"offset": count, "data": _base64, "end": boolean}, {}),
    "stat": record({"paths": listed(_stat)}, {}),
    "doctor": record({"checks": listed(_check, _MOST_CHECKS)}, {"at": number}),
    "blob.has": record({"size": count, "complete": boolean}, {}),
    "gc": record({"freed": count}, {}),
    "gc.checkpoints": record({"removed": count}, {}),
    "run.keep": record({"spec": boolean}, {}),
    "run.list": record(
        {"runs": listed(identifier, _MOST_RUNS)}, {"others": listed(identifier, _MOST_DAEMONS)}
    ),
    "run.read": record({"spec": optional(whole_text), "lines": whole_text, "next": count}, {}),
    "run.forget": record({"removed": count}, {}),
    "kept.list": record({"kept": listed(_kept, _MOST_KEPT)}, {}),
    "kept.forget": _none,
    "clean": record({"found": listed(_cleaned, _MOST_KINDS), "busy": text}, {}),
    "run.ended": record({"lines": whole_text, "next": count}, {}),
}
