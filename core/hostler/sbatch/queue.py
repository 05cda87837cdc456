"""The output of `squeue` inside a stage: columns, state words, `--format` fields, how many
lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from hostler.base.errors import InputError
from hostler.base.text import shown
from hostler.sbatch.pipeline import plain_name
from hostler.sbatch.requests import QueueQuery

_USUAL = "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R"
_FIELD = re.compile(r"%(?:(\.?)([0-9]{1,3}))?([A-Za-z])")
_HEADS = {
    "i": "JOBID", "A": "JOBID", "F": "ARRAY_JOB_ID", "K": "ARRAY_TASK_ID", "P": "PARTITION",
    "j": "NAME", "u": "USER", "t": "ST", "T": "STATE", "M": "TIME", "D": "NODES",
    "R": "NODELIST(REASON)", "N": "NODELIST", "r": "REASON",
}  # fmt: skip
_STATES = {
    "waiting": ("PD", "PENDING"),
    "starting": ("CF", "CONFIGURING"),
    "running": ("R", "RUNNING"),
    "collecting": ("CG", "COMPLETING"),
}
_MOST_LINES = 1000
_LONGEST_LAYOUT = 400
_MOST_TEXT = 192 * 1024
"""Characters of an answer: the agent takes no more, and a layout may make each line long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedTask:
    """A stage of a run that has not ended."""

    number: int
    task: str = ""
    """The task of an array."""
    name: str
    user: str
    status: str
    seconds: float = 0.0
    """Seconds since its start."""
    host: str = ""
    reason: str = ""

    @property
    def states(self) -> tuple[str, str]:
        """The short and the long word for its status."""
        return _STATES.get(self.status, ("??", self.status.upper()))

    @property
    def values(self) -> dict[str, str]:
        """Values by the letters of `--format`."""
        short, long = self.states
        reason = self.reason or "None"
        return {
            "i": f"{self.number}_{self.task}" if self.task else str(self.number),
            "A": str(self.number),
            "F": str(self.number),
            "K": self.task or "N/A",
            "P": "hostler",
            "j": self.name,
            "u": self.user,
            "t": short,
            "T": long,
            "M": _clock(self.seconds),
            "D": "1",
            "R": self.host or f"({reason})",
            "N": self.host,
            "r": reason,
        }


def queue_text(query: QueueQuery, tasks: Iterable[QueuedTask]) -> str:
    """The text of the answer. Raises InputError for an unknown field."""
    layout = query.layout if query.layout is not None else _USUAL
    if len(layout) > _LONGEST_LAYOUT:
        raise InputError(
            f"squeue --format has {len(layout):,} characters; at most {_LONGEST_LAYOUT} are "
            "allowed",
            remedy="Name each field once",
        )
    lines = [_line(layout, _HEADS)] if query.has_header else []
    left = _MOST_TEXT
    for task in islice(_wanted(query, tasks), _MOST_LINES):
        lines.append(_line(layout, task.values))
        left -= len(lines[-1])
        if left < 0:
            break
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _wanted(query: QueueQuery, tasks: Iterable[QueuedTask]) -> Iterator[QueuedTask]:
    """Made of sets: a query may name thousands of jobs, and an array has thousands of tasks."""
    jobs, names = frozenset(query.jobs), frozenset(map(plain_name, query.names))
    states = frozenset() if "ALL" in query.states else frozenset(query.states)
    for task in tasks:
        if (jobs and task.number not in jobs) or (names and task.name not in names):
            continue
        if not states or not states.isdisjoint(task.states):
            yield task


def _line(layout: str, values: dict[str, str]) -> str:
    def field(match: re.Match[str]) -> str:
        right, width, letter = match[1], int(match[2] or 0), match[3]
        if letter not in values:
            raise InputError(
                f"squeue --format: {shown(match[0])} is not supported",
                remedy=f"Use some of {', '.join(f'%{name}' for name in _HEADS)}",
            )
        value = values[letter][:width] if width else values[letter]
        return value.rjust(width) if right else value.ljust(width)

    return _FIELD.sub(field, layout)


def _clock(seconds: float) -> str:
    minutes, left = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours}:{minutes:02}:{left:02}" if hours or days else f"{minutes}:{left:02}"
    return f"{days}-{clock}" if days else clock
