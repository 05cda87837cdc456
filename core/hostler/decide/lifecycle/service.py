"""A replica of a service: its keys, the pause before it starts again (doubled, up to 5 minutes),
and after how many failures in a row an alert opens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hostler.base.keys import keys_of
from hostler.decide.causes import Ending
from hostler.decide.lifecycle.task import Task
from hostler.model.pipelines import UNCOUNTED, Cause, Resources, Scalar, Stage
from hostler.model.runs import Attempt, Phase, StageStatus

HEALTHY_FOR = 300.0
"""Seconds. A replica that was ready for so long was healthy, and earlier failures no longer
count."""
LONGEST_PAUSE = 300.0
FAILING = 3
"""An alert opens after so many failures in a row."""
_NOT_ITS_FAULT = UNCOUNTED | {
    Cause.HOST_REBOOTED, Cause.HOST_LOST, Cause.ENGINE_RESTARTED, Cause.STOPPED,
}  # fmt: skip
_COMMON = (
    "kind", "command", "shell", "image", "runtime", "venv", "conda", "modules", "setup",
    "setup_files", "setup_timeout", "env", "secrets", "secret_files", "workdir", "mounts", "code",
    "needs", "when", "inputs", "resources", "checkpoint", "lost_after", "priority", "grace",
)  # fmt: skip
_RESOURCES = tuple(f"resources.{key}" for key in keys_of(Resources))


class Service(Task):
    """See `Lifecycle` for what each answer means."""

    keys: Mapping[str, str] = {"health": 'health = "/health", or "tcp"'}
    optional: Mapping[str, str] = {
        "replicas": "replicas = 2",
        "port": "port = 8000",
        "startup": 'startup = "10m"',
        "warmup": 'warmup = "/predict?x=1"',
        "drain": 'drain = "2m"',
        "maxconn": "maxconn = 8",
        "address": 'address = "digits.lab.example"',
        "sticky": "sticky = true",
        "until": 'until = "14d"',
    }
    takes = frozenset(
        (*_COMMON, *keys, *optional, *(f"resources.{key}" for key in keys_of(Resources)))
    )

    def unfold(self, stage: Stage) -> tuple[Stage, ...]:
        """Its replicas. A single replica has a number, too, so that others can be added later."""
        return tuple(replace(stage, name=name) for name in slots(stage))

    def status(self, tries: Sequence[Attempt]) -> StageStatus:
        """Like a task's status. But a replica that was not wanted for a while may be wanted again,
        so it counts as failed."""
        if tries[-1].cause is Cause.SUPERSEDED and tries[-1].phase.is_final:
            return StageStatus.FAILED
        return super().status(tries)

    def judge(
        self,
        stage: Stage,
        ended: Ending,
        metrics: Mapping[str, float],
        params: Mapping[str, Scalar],
    ) -> Ending:
        """A replica that ends without a stop has failed."""
        if ended[0] is not Phase.SUCCEEDED:
            return ended
        return (
            Phase.FAILED,
            Cause.USER_ERROR,
            "it ended (exit code 0); a service runs until stopped",
        )

    def lets_go(self, status: StageStatus, tries: Sequence[Attempt]) -> bool:
        """The stages that need it may start once it has answered."""
        return is_ready(tries[-1])

    def is_tried_again(self, stage: Stage, tries: Sequence[Attempt]) -> bool:
        """It always gets another attempt, after a pause."""
        return True

    def not_before(self, stage: Stage, tries: Sequence[Attempt], ended_at: float) -> float | None:
        """The next attempt starts after a pause that doubles, and is reset once a replica was
        healthy for a while; at once if the host caused the failure."""
        if tries[-1].cause in UNCOUNTED:
            return super().not_before(stage, tries, ended_at)
        if tries[-1].cause in _NOT_ITS_FAULT:
            return None
        doubled = 2.0 ** min(max(failures_in_a_row(tries), 1) - 1, 30)
        return ended_at + min(doubled, LONGEST_PAUSE)

    def stops_siblings(self, stage: Stage) -> bool:
        """The end of one replica does not end the others."""
        return False


def slots(stage: Stage) -> tuple[str, ...]:
    """The names of the replicas that the file asks for."""
    count = stage.service.replicas if stage.service is not None else 1
    return tuple(f"{stage.name}.{number}" for number in range(count))


def is_ready(attempt: Attempt) -> bool:
    """Whether it runs and has answered since it was started."""
    return attempt.phase is Phase.RUNNING and attempt.ready_at is not None


def failures_in_a_row(tries: Sequence[Attempt]) -> int:
    """How often it has failed by its own fault since it was last healthy."""
    count = 0
    for attempt in reversed(tries):
        if not attempt.phase.is_final:
            continue
        count += attempt.cause not in _NOT_ITS_FAULT
        if _was_healthy(attempt):
            break
    return count


def _was_healthy(attempt: Attempt) -> bool:
    ready, ended = attempt.ready_at, attempt.finished_at
    return ready is not None and ended is not None and ended - ready >= HEALTHY_FOR
