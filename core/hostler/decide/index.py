"""A snapshot, indexed once for all parts of planning, and the cache of results that plans share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from hostler.decide.progress import Progress, live_attempts, progress_of
from hostler.decide.requests import Request, is_named, requests_of
from hostler.decide.times import begun_at, ended_at, known_since
from hostler.model.hosts import Host, HostCondition, Look, Workload
from hostler.model.pipelines import Stage
from hostler.model.plans import Policy, Snapshot
from hostler.model.runs import Attempt, Run

_Options = tuple[Request, ...]
_Requests = tuple[Run, dict[str, _Options], dict[_Options, _Options]]
"""A run, the requests of each of its stages, and the distinct ones."""


class PlanCache:
    """Caches results that depend only on a run, as long as the run is the same object, because the
    daemon plans on every event. A plan is the same with and without the cache."""

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}
        self._requests: dict[str, _Requests] = {}

    def progress(self, run: Run) -> Progress:
        """`progress_of(run)`, from the cache."""
        known = self._progress.get(run.run_id)
        if known is None or known.run is not run:
            known = self._progress[run.run_id] = progress_of(run)
        return known

    def request(self, run: Run, stage: Stage) -> Request:
        """`request_of(run, stage)`, from the cache: neither attempts nor priorities change it."""
        return self.requests(run, stage)[0]

    def requests(self, run: Run, stage: Stage) -> _Options:
        """`requests_of(run, stage)`, from the cache; the same object for all stages of a run with
        equal requests."""
        known = self._requests.get(run.run_id)
        if known is None or known[0].stages is not run.stages or known[0].source is not run.source:
            known = self._requests[run.run_id] = (run, {}, {})
        found = known[1].get(stage.name)
        if found is None:
            made = requests_of(run, stage)
            found = known[1][stage.name] = known[2].setdefault(made, made)
        return found

    def keep(self, runs: Iterable[Run]) -> None:
        """Forget all runs except these."""
        wanted = {run.run_id for run in runs}
        for gone in self._progress.keys() - wanted:
            del self._progress[gone]
            self._requests.pop(gone, None)


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """An attempt that is not final, with its run and stage."""

    run: Run
    stage: Stage
    attempt: Attempt
    since: float | None = None
    """When it was launched or placed, on this daemon's clock; for work that is being collected,
    when it ended. None: the stored times count."""
    begun: float | None = None
    """Since when it runs; None: it does not run, or has no time limit."""


class Entry(NamedTuple):
    """A ready stage in the queue."""

    run: Run
    stage: Stage
    progress: Progress

    @property
    def key(self) -> tuple[str, str]:
        """Its key in `Plan.reasons`."""
        return (self.run.run_id, self.stage.name)


class Index:
    """Look-ups over one snapshot. Treat it as frozen."""

    __slots__ = (
        "at_gateway",
        "at_host",
        "attempts",
        "draining",
        "fresh",
        "heirs",
        "held",
        "hosts",
        "leaving",
        "open",
        "plan_cache",
        "progress",
        "slots",
        "snapshot",
        "workloads",
    )  # fmt: skip

    def __init__(self, snapshot: Snapshot, plan_cache: PlanCache | None = None) -> None:
        self.snapshot = snapshot
        self.plan_cache = plan_cache if plan_cache is not None else PlanCache()
        self.plan_cache.keep(snapshot.runs)
        self.held: Mapping[tuple[str, str], str] = {}
        """(run id, stage) of replicas of services that may not start now -> why."""
        self.slots: frozenset[tuple[str, str]] = frozenset()
        """Wanted replicas of deployed services, also while they may not start: they keep their
        GPUs."""
        self.heirs: Mapping[tuple[str, str], tuple[Attempt, ...]] = {}
        """Wanted replica that replaces others -> all earlier attempts, including its own, in order
        of placing. It gets the GPUs of the last one."""
        self.leaving: Mapping[str, str] = {}
        """Attempts of services that have to be stopped -> why."""
        self.at_gateway: frozenset[str] = frozenset()
        """Attempts that the gateway may send requests to: it must remove them before they are
        stopped."""
        self.draining: frozenset[str] = frozenset()
        """Runs of releases whose replicas leave the gateway before they are stopped, even if a user
        cancels the run."""
        self.hosts: dict[str, Host] = {host.name: host for host in snapshot.hosts}
        self.fresh: dict[str, Look] = {}
        """Host -> its look, if the host is up and the look is new enough to decide on."""
        for host in snapshot.hosts:
            if (look := fresh_look(host, snapshot.now, snapshot.policy)) is not None:
                self.fresh[host.name] = look
        self.progress: dict[str, Progress] = {
            run.run_id: self.plan_cache.progress(run) for run in snapshot.runs
        }
        self.attempts: dict[str, Attempt] = {
            a.attempt_id: a for run in snapshot.runs for a in run.attempts
        }
        self.workloads: dict[tuple[str, str], Workload] = {
            (host.name, workload.attempt_id): workload
            for host in snapshot.hosts
            if host.look is not None
            for workload in host.look.workloads
            if workload.daemon_id == snapshot.daemon_id
        }
        self.open: dict[str, OpenAttempt] = {}
        self.at_host: dict[str, list[OpenAttempt]] = {}
        """Host -> the attempts at work there. An attempt that is only being collected is not among
        them: it uses none of the host's capacity."""
        for item in open_attempts(snapshot.runs, self.progress):
            timed = self._timed(item)
            self.open[item.attempt.attempt_id] = timed
            if item.attempt.phase.is_at_work:
                self.at_host.setdefault(item.attempt.host, []).append(timed)

    def _timed(self, item: OpenAttempt) -> OpenAttempt:
        """The attempt, with its times converted to this daemon's clock if needed."""
        attempt, snapshot = item.attempt, self.snapshot
        if not attempt.phase.is_at_work:
            return replace(item, since=ended_at(attempt, snapshot))
        if item.stage.timeout is None and attempt.attempt_id not in snapshot.earlier:
            return item
        host = self.hosts.get(attempt.host)
        look = host.look if host is not None else None
        seen = self.workload(attempt.host, attempt.attempt_id)
        begun = begun_at(attempt, snapshot, look, seen)
        return replace(item, since=known_since(attempt, snapshot), begun=begun)

    def workload(self, host: str, attempt_id: str) -> Workload | None:
        """Our workload of that attempt, as the host's last look shows it; None: there is none."""
        return self.workloads.get((host, attempt_id))

    def has_orphans(self) -> bool:
        """Whether a host shows work of ours that no open attempt owns."""
        return any(attempt_id not in self.open for _, attempt_id in self.workloads)

    def has_leases(self) -> bool:
        """Whether a host shows leases of any owner."""
        return any(host.look is not None and host.look.leases for host in self.snapshot.hosts)

    @property
    def has_slots(self) -> bool:
        """Whether GPUs may be kept for a replica of a service that will start again."""
        return bool(self.heirs) or any(progress.slots for progress in self.progress.values())

    def ready(self, progress: Progress) -> list[Stage]:
        """The stages of a run that may start, judged from the run alone."""
        if not self.held:
            return progress.ready
        run_id = progress.run.run_id
        return [stage for stage in progress.ready if (run_id, stage.name) not in self.held]

    def tries(self, run_id: str, stage: str) -> Sequence[Attempt]:
        """The attempts of a replica's slot, including those of earlier releases."""
        found = self.heirs.get((run_id, stage))
        return self.progress[run_id].tries.get(stage, ()) if found is None else found

    def is_replica(self, attempt_id: str) -> bool:
        """Whether it is an attempt of a service that is not over."""
        attempt = self.attempts.get(attempt_id)
        stage = self.progress[attempt.run_id].stages.get(attempt.stage) if attempt else None
        return stage is not None and stage.service is not None

    def starting(self, attempt_id: str) -> bool:
        """Whether the daemon is starting the attempt at this moment."""
        return f"start:{attempt_id}" in self.snapshot.in_flight

    def unsure_of(self, run_id: str, request: Request) -> list[str]:
        """Hosts whose notes are not merged yet, and where a stage of that run may have begun since
        the backup was made: all that the request allows."""
        snapshot = self.snapshot
        if run_id not in snapshot.restored:
            return []
        return [n for n in sorted(snapshot.unsure) if is_named(n, request)]


def open_attempts(
    runs: Iterable[Run], progress: dict[str, Progress] | None = None
) -> list[OpenAttempt]:
    """All attempts that are not final, in the order of runs and placing."""
    found: list[OpenAttempt] = []
    for run in runs:
        known = progress.get(run.run_id) if progress is not None else None
        live = known.live if known is not None else live_attempts(run)
        if not live:
            continue
        stages = known.stages if known is not None else {s.name: s for s in run.stages}
        found.extend(OpenAttempt(run, stages[a.stage], a) for a in live if a.stage in stages)
    return found


def fresh_look(host: Host | None, now: float, policy: Policy) -> Look | None:
    """The host's look if the host is up and the look is new enough to decide on; else None.

    After a host reconnects, older looks do not count: an attempt that was recorded as lost
    meanwhile may still run there. A host whose notes are not in the database has no fresh look
    either.
    """
    if host is None or host.condition is not HostCondition.UP or host.look is None:
        return None
    if host.unmerged:
        return None
    look = host.look
    if look.asked_at < host.since or now - look.asked_at > policy.fresh_for:
        return None
    return look
