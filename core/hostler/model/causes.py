"""Causes of unsuccessful attempts (user error, OOM ...), which of them are retried by default, and
which do not count as a try.
"""

from __future__ import annotations

from enum import StrEnum

from hostler.base.json_types import Json
from hostler.base.keys import Kind, Shape
from hostler.base.readers import read_words
from hostler.base.several import of_all, of_list, read_all
from hostler.base.text import shown


class Cause(StrEnum):
    """Why an attempt did not succeed. A closed set; words for people."""

    USER_ERROR = "user error"
    """The command ended with a non-zero exit code of its own."""
    OOM_HOST = "OOM (host)"
    OOM_GPU = "OOM (GPU)"
    GPU_LOST = "GPU lost"
    HOST_REBOOTED = "host rebooted"
    HOST_LOST = "host lost"
    PREEMPTED = "preempted"
    TIME_LIMIT = "time limit"
    UNHEALTHY = "unhealthy"
    """A replica of a service did not become ready, or failed its health checks for long."""
    SUPERSEDED = "superseded"
    """A replica of a service that another release, or a smaller number of replicas, made
    unnecessary. Does not count as a try."""
    WRONG_GPU = "wrong GPU"
    """It computed on a GPU that it was not given."""
    STOPPED = "stopped"
    """By a person; the detail names them."""
    DEPENDENCY = "dependency"
    GATE = "gate"
    START_FAILED = "start failed"
    """Image, mount, or the runtime itself."""
    SETUP_FAILED = "setup failed"
    """The setup of the stage before its command."""
    SETUP_TIME_LIMIT = "setup time limit"
    NOT_STARTED = "not started"
    """The GPU was taken between plan and claim. Does not count as a try."""
    HOST_FAULT = "host fault"
    """Nothing can be started on the host. Does not count as a try."""
    REQUEUED = "requeued"
    """It reached its time limit and continues from its checkpoint, or its script asked for another
    attempt. Does not count as a try."""
    OUTPUT = "output"
    """The command succeeded but a declared output is missing or over its cap."""
    ENGINE_RESTARTED = "ended by docker restart"
    VANISHED = "vanished"
    """The workload is gone, and how it ended is unknown (removed by hand, ...)."""


UNCOUNTED = frozenset({Cause.NOT_STARTED, Cause.HOST_FAULT, Cause.REQUEUED, Cause.SUPERSEDED})
"""Attempts that ended by these do not count as tries: nothing of the stage ran, or it continues."""

RETRYABLE: tuple[Cause, ...] = (
    Cause.USER_ERROR, Cause.OOM_HOST, Cause.OOM_GPU, Cause.GPU_LOST, Cause.HOST_REBOOTED,
    Cause.HOST_LOST, Cause.TIME_LIMIT, Cause.GATE, Cause.START_FAILED, Cause.SETUP_FAILED,
    Cause.SETUP_TIME_LIMIT, Cause.OUTPUT, Cause.ENGINE_RESTARTED, Cause.VANISHED,
)  # fmt: skip


def _read_causes(value: Json) -> object:
    items = value if isinstance(value, list) else [value]
    words = read_words(value)
    place = of_list if items is value else of_all
    return tuple(dict.fromkeys(read_all(words, _cause, place)))


def _cause(word: str) -> Cause:
    known = {cause.value.lower(): cause for cause in RETRYABLE}
    if word.lower() not in known:
        listed = ", ".join(cause.value for cause in RETRYABLE)
        raise ValueError(f"{shown(word)} is not one of: {listed}")
    return known[word.lower()]


_WORDS = [cause.value for cause in RETRYABLE]
CAUSES = Kind(
    _read_causes,
    {
        "type": "array",
        "items": {"enum": [*dict.fromkeys([*_WORDS, *map(str.lower, _WORDS)])]},
        "minItems": 1,
    },
    Shape.TEXTS,
)
