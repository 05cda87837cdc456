"""Detects stages that use GPUs they were not given, and reports each once; the rules are in
`decide.stray_gpus`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hostler.daemon.context import Context
from hostler.decide.causes import sentence_of
from hostler.decide.index import OpenAttempt, open_attempts
from hostler.decide.stray_gpus import Sightings, sighted, strays, uses
from hostler.model.events import EventKind
from hostler.model.hosts import Host, Look
from hostler.model.plans import Stray
from hostler.model.records import NewEvent


class Strays:
    """Strays, kept in memory: a restarted daemon sees them again within seconds."""

    def __init__(self, context: Context, note: Callable[[NewEvent], None]) -> None:
        self._context = context
        self._note = note
        self._seen: dict[str, Sightings] = {}
        """Sightings by host; no entry if nothing was seen."""
        self._told: dict[str, bool] = {}
        """Attempts that were reported -> whether they computed."""

    def saw(self, host: Host, look: Look) -> None:
        """Record a look for later plans and views, and report new strays."""
        before = self._seen.get(host.name)
        if before is None and not _has_strays(look):
            return
        context = self._context
        here = {
            item.attempt.attempt_id: item
            for item in open_attempts(context.run_cache.runs())
            if item.attempt.host == host.name
        }
        found = uses(host, context.config.policy, context.daemon_id, [*here.values()])
        seen = sighted(before or Sightings(), found, look)
        self._seen[host.name] = seen
        if not seen.spots:
            del self._seen[host.name]
        self._show(host.name, here, strays(seen, found, host.name, look))

    def _show(self, host: str, here: dict[str, OpenAttempt], found: dict[str, Stray]) -> None:
        known = self._context.strays
        for attempt_id in [a for a, (at, _) in known.items() if at == host and a not in found]:
            del known[attempt_id]
        cache = self._context.run_cache
        self._told = {a: computed for a, computed in self._told.items() if cache.attempt(a)}
        for attempt_id, stray in found.items():
            item = here[attempt_id]
            where = self._context.masked(item.run.run_id, stray.where)
            is_news = attempt_id not in known or known[attempt_id][1].ends != stray.ends
            known[attempt_id] = host, replace(stray, where=where)
            self._tell(item, known[attempt_id][1])
            if is_news:
                self._context.wake()

    def _tell(self, item: OpenAttempt, stray: Stray) -> None:
        attempt = item.attempt
        if attempt.stop_reason is not None or self._told.get(attempt.attempt_id, False):
            return
        if attempt.attempt_id in self._told and not stray.computes:
            return
        self._told[attempt.attempt_id] = stray.computes
        severity = "error" if stray.computes else "warning"
        said = f"stage {attempt.stage} {sentence_of(stray)}"
        self._note(self._context.event(EventKind.ATTEMPT_STRAY, said, attempt, severity=severity))


def _has_strays(look: Look) -> bool:
    return any(process.stray for gpu in look.gpus for process in gpu.processes)
