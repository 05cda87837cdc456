"""`--signal` and `--requeue` of a batch script as keys of the stage: the warning signal and its
seconds before the limit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from hostler.base.json_types import Json, JsonTable
from hostler.base.text import shown
from hostler.base.units import format_duration, parse_duration
from hostler.model.time_limits import SIGNALS, read_signal

_SIGNAL = re.compile(r"(?:([RB]{1,2}):)?([A-Za-z0-9]{1,10})(?:@([0-9]{1,5}))?")
_USUAL = 60
"""Seconds before the limit at which sbatch sends a signal whose option names no time."""
_NAMES = {str(number): name for name, number in SIGNALS.items()}


@dataclass(frozen=True, slots=True)
class BatchSignal:
    """`--signal=[B:]USR1@240`."""

    name: str
    before: int
    """Seconds before the time limit."""
    to_shell: bool
    """To the batch shell; else to the processes that it has started, like the steps of `srun`."""

    def __str__(self) -> str:
        return f"--signal={'B:' if self.to_shell else ''}{self.name}@{self.before}"


class Wishes(Protocol):
    """The part of a batch job that these functions need."""

    @property
    def time(self) -> float | None:
        """Seconds."""

    @property
    def signal(self) -> BatchSignal | None:
        """The request of `--signal`."""

    @property
    def requeue(self) -> bool:
        """Whether `--requeue` is set."""


def read_batch_signal(text: str) -> BatchSignal:
    """The value of `--signal`. Raises ValueError."""
    match = _SIGNAL.fullmatch(text)
    if match is None:
        raise ValueError(f"{shown(text)} is not a signal: write it like USR1@240 or B:USR1@240")
    name = read_signal(_NAMES.get(match[2], match[2]))
    return BatchSignal(name, max(1, int(match[3] or _USUAL)), "B" in (match[1] or ""))


def limit_keys(job: Wishes, stage: Mapping[str, Json]) -> JsonTable:
    """Keys of the stage for that. `stage`: its other keys, with the options of `hostler run`."""
    limit = _limit(stage.get("timeout"))
    found: JsonTable = {}
    signal = job.signal
    if limit is not None and signal is not None and signal.before < limit and "warn" not in stage:
        to = {} if signal.to_shell else {"to": "children"}
        found["warn"] = {"signal": signal.name, "before": f"{signal.before}s", **to}
    goes_on = job.requeue and limit is not None and stage.get("checkpoint")
    if goes_on and "on_timeout" not in stage:
        found["on_timeout"] = "requeue"
    return found


def limit_notes(job: Wishes, options: Mapping[str, Json]) -> Iterator[str]:
    """The unused parts, one line each. `options`: those of `hostler run`."""
    limit = _limit(options.get("timeout")) or job.time
    if job.signal is not None and "warn" not in options:
        if limit is None:
            yield f"{job.signal} is not used: without --time there is no limit to warn of"
        elif job.signal.before >= limit:
            yield f"{job.signal} is not used: the time limit is {format_duration(limit)}"
    if job.signal and job.requeue and limit and not options.get("checkpoint"):
        yield (
            "at its time limit the script ends; to resume from its checkpoint in another attempt: "
            "hostler run --checkpoint DIR"
        )


def _limit(text: Json) -> float | None:
    try:
        return parse_duration(text) if isinstance(text, str) else None
    except ValueError:
        return None  # the reader of pipelines says what is wrong
