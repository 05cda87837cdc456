"""Reads the answer of `docker inspect` into a Workload: state, times, and the signal behind an exit
code. Pure."""

from __future__ import annotations

import calendar
import re

from hostler.model.hosts import Workload
from hostler_agent.inspected import ATTEMPT, DAEMON, is_cut_off, is_ours, labels_of, state_of
from hostler_agent.json_values import Message, integer, string

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))"
)
_SIGNALS = range(1, 65)


def workload_from_inspect(data: Message) -> Workload | None:
    """The workload of one inspected container; None: it is not Hostler's."""
    if not is_ours(data):
        return None
    labels, state = labels_of(data), state_of(data)
    running = bool(state.get("Running"))
    created_only = state.get("Status") == "created"
    code = integer(state.get("ExitCode"))
    ended = not running and not created_only
    # A container that failed to start stays "created", with an exit code and the reason.
    known = ended or bool(state.get("Error"))
    return Workload(
        attempt_id=str(labels[ATTEMPT]),
        daemon_id=str(labels[DAEMON]),
        runtime="docker",
        ref=str(data.get("Id", "")),
        running=running,
        created_only=created_only,
        exit_code=code if known and not running else None,
        signal=signal_of(code) if ended else None,
        oom_killed=bool(state.get("OOMKilled")),
        gpu_cut_off=is_cut_off(state),
        error=string(state.get("Error")) or None,
        started_at=timestamp(state.get("StartedAt")),
        finished_at=timestamp(state.get("FinishedAt")) if ended else None,
        gpus=tuple(uuid for uuid in str(labels.get("hostler.gpus") or "").split(",") if uuid),
        owner=string(labels.get("hostler.owner")),
    )


def signal_of(exit_code: int | None) -> int | None:
    """The signal behind an exit code over 128, as shells and container inits report it."""
    if exit_code is None or exit_code - 128 not in _SIGNALS:
        return None
    return exit_code - 128


def timestamp(text: object) -> float | None:
    """Seconds since the epoch of an RFC 3339 time; None for Docker's zero time and for invalid
    text."""
    nanoseconds = epoch_ns(text) if isinstance(text, str) else None
    if nanoseconds is None:
        return None
    seconds, rest = divmod(nanoseconds, 10**9)
    return seconds + rest / 1e9


def epoch_ns(text: str) -> int | None:
    """Nanoseconds since the epoch of an RFC 3339 time; None if it is invalid or before 1970."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    fields = (int(match[1]), int(match[2]), int(match[3]), int(match[4]), int(match[5]))
    seconds = calendar.timegm((*fields, int(match[6])))
    if match[8]:
        offset = int(match[9]) * 3600 + int(match[10]) * 60
        seconds += -offset if match[8] == "+" else offset
    if seconds <= 0:
        return None
    return seconds * 10**9 + int((match[7] or "").ljust(9, "0"))
