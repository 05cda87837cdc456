"""Tracks start failures for each host and runtime; pauses and blame are in `decide.health`."""

from __future__ import annotations

import math
from collections.abc import Iterable

from hostler.base.errors import AgentError, HostFault, HostlerError
from hostler.base.text import clean_line
from hostler.decide.health import after_fault, concerns, is_suspect, remembered
from hostler.decide.start_failures import Fault, fault_of_agent
from hostler.model.pipelines import Stage
from hostler.model.plans import Ailment, Site
from hostler.model.runs import Attempt, Run
from hostler.model.runtimes import traits_of
from hostler.model.timings import DEFAULT, StartPauses

_LONGEST_WHY = 300


class Health:
    """Hosts where nothing starts, and the times of the last successful starts."""

    def __init__(self, pauses: StartPauses = DEFAULT.start) -> None:
        self._pauses = pauses
        self.ailing: dict[Site, Ailment] = {}
        """The problems that later plans must know."""
        self._proven: dict[tuple[str, str, bool], float] = {}
        self._mended: dict[str, float] = {}
        """Host -> when a successful start ended its problem: the attempts that started there report
        it."""

    def recall(self, runs: Iterable[Run], now: float) -> None:
        """Take over what the daemon before this one knew."""
        self.ailing = remembered(runs, now, self._pauses)

    def blames_host(self, run: Run, attempt: Attempt, error: HostlerError) -> Fault | None:
        """The part of the host that does not work, by an error of a start; None: the stage is the
        cause, or the cause is unknown."""
        fault = _fault(attempt, error)
        tries = [each for each in run.attempts if each.stage == attempt.stage]
        return None if fault is None or is_suspect(tries, self._proven) else fault

    def failed(
        self, run: Run, stage: Stage, attempt: Attempt, fault: Fault, why: str, now: float
    ) -> Ailment | None:
        """Note that a start failed because of the host; returns the host's problem if it is new."""
        site = (attempt.host, attempt.runtime)
        before = self.ailing.get(site)
        gpus_only = fault is Fault.GPUS and bool(attempt.gpus)
        why = clean_line(why, _LONGEST_WHY)
        found = after_fault(
            before, attempt, stage, run.owner, why, now,
            gpus_only=gpus_only, pauses=self._pauses,
        )  # fmt: skip
        self.ailing[site] = found
        return None if before is not None else found

    def started(self, attempt: Attempt, now: float) -> bool:
        """Note a successful start; returns whether that ends a problem."""
        site = (attempt.host, attempt.runtime)
        self._proven[(*site, bool(attempt.gpus))] = now
        ailment = self.ailing.get(site)
        if ailment is None or not concerns(ailment, bool(attempt.gpus)):
            return False
        del self.ailing[site]
        self._mended[attempt.host] = now
        return True

    def forgive(self, host: str) -> bool:
        """A user says that the host is healthy; returns whether it had a known problem."""
        known = [site for site in self.ailing if site[0] == host]
        for site in known:
            del self.ailing[site]
        return bool(known)

    def has_started(self, host: str, since: float) -> bool:
        """Whether a host has no problem, and a start has succeeded there since then without a
        report."""
        ails = any(site[0] == host for site in self.ailing)
        is_told = self._mended.get(host, -math.inf) >= since
        return not (ails or is_told) and any(
            at > since for (name, _, _), at in self._proven.items() if name == host
        )


def _fault(attempt: Attempt, error: HostlerError) -> Fault | None:
    if isinstance(error, HostFault):
        return Fault.GPUS if error.gpus_only else Fault.HOST
    if isinstance(error, AgentError) or not traits_of(attempt.runtime).has_engine:
        return fault_of_agent(error.message)
    return None


def ailing_words(attempt: Attempt, ailment: Ailment) -> str:
    """The message that nothing starts any more on the host where this attempt failed."""
    what = traits_of(attempt.runtime).nouns
    kind = " with GPUs" if ailment.gpus_only else ""
    return (
        f"{attempt.host} starts no {what}{kind}: {ailment.why}; stages run elsewhere, and "
        "Hostler retries there occasionally"
    )
