"""Copying from a host is repeated up to ten times while its Docker restarts or its agent is
killed."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus

from hostler.base.errors import AgentGone, EngineError, HostlerError, Unreachable
from hostler.model.runs import Attempt

MOST_UNANSWERED = 10


class Unanswered:
    """Attempt -> how often its host's Docker or agent did not answer while files were copied."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()

    def check(self, attempt: Attempt, error: HostlerError) -> None:
        """Raises Unreachable if Docker did not answer, or the agent was killed: a restart or too
        little memory changes nothing about the files. The number of tries is limited, because a
        file that cannot be read ends the answer, too."""
        away = isinstance(error, EngineError) and error.status == HTTPStatus.SERVICE_UNAVAILABLE
        if not away and not isinstance(error, AgentGone):
            return
        self._times[attempt.attempt_id] += 1
        if self._times[attempt.attempt_id] < MOST_UNANSWERED:
            raise Unreachable(attempt.host, error.message) from error

    def forget(self, attempt: Attempt) -> None:
        """All that can be copied of the attempt has been copied."""
        self._times.pop(attempt.attempt_id, None)
