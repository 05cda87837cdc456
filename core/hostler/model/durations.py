"""How long runs and attempts took: the one definition for every table, page and answer.

A run's duration goes from the start of its first attempt to its end, or to now while it is open:
what it waits before is no part of it, pauses between its stages are. It has none before anything
started. An attempt's duration is what its host measured; while it runs, the time since it started.
"""

from __future__ import annotations

from typing import Protocol


class Timed(Protocol):
    """A run, or a row of the list of runs."""

    @property
    def started_at(self) -> float | None:
        """When its first attempt started."""

    @property
    def finished_at(self) -> float | None:
        """None: it has not ended."""


def run_duration(started_at: float | None, finished_at: float | None, now: float) -> float | None:
    """Seconds from the start of the first attempt to the end of the run; None: nothing started."""
    if started_at is None:
        return None
    return max(0.0, (now if finished_at is None else finished_at) - started_at)


def attempt_duration(
    duration: float | None, started_at: float | None, finished_at: float | None, now: float
) -> float | None:
    """Seconds that an attempt ran; None: it did not."""
    if duration is not None:
        return max(0.0, float(duration))
    return run_duration(started_at, finished_at, now)


def duration_of_run(run: Timed, now: float) -> float | None:
    """The duration of a run or of a summary as the API gives it."""
    started_at = run.started_at
    if started_at is None:  # nothing has started, or the daemon is one of before
        tries = [a for stage in getattr(run, "stages", ()) for a in stage.attempts]
        starts = (attempt.started_at for attempt in tries)
        started_at = min((at for at in starts if at is not None), default=None)
    return run_duration(started_at, run.finished_at, now)
