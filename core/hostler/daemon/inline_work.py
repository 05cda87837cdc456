"""The inputs and the result of work without a workload."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hostler.daemon.context import Context
from hostler.decide.causes import Ending
from hostler.model.jobs import GivenSecret
from hostler.model.pipelines import Stage
from hostler.model.runs import Attempt
from hostler.ports import LogSink, Progress


@dataclass(frozen=True, slots=True)
class Work:
    """The work of one attempt."""

    context: Context
    attempt: Attempt
    stage: Stage
    secrets: tuple[GivenSecret, ...]
    log: LogSink
    progress: Progress


@dataclass(frozen=True, slots=True)
class Done:
    """The result of the work."""

    ending: Ending
    exit_code: int | None = None
    image_digest: str | None = None
    """Digest of the image that it made."""


InlineWork = Callable[[Work], Awaitable[Done]]
"""Does the work and returns its result; it may be cancelled. Raises Unreachable, to be called again
once the host answers, and another HostError or InputError if it cannot start."""
