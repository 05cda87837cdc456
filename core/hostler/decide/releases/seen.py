"""The situation of one service, taken from a snapshot: which replicas answer, fail three times in a
row, or wait, and the words for their trouble."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hostler.base.text import clean_line
from hostler.decide.index import Index
from hostler.decide.lifecycle.service import FAILING, failures_in_a_row, is_ready
from hostler.decide.releases.situation import Replica, Situation
from hostler.decide.ties import image_build
from hostler.decide.times import ended_at, known_since
from hostler.model.hosts import Health, HostCondition, Look
from hostler.model.pipelines import Stage
from hostler.model.releases import Release, ServiceState, Slot
from hostler.model.runs import Attempt, Run, StageStatus
from hostler.model.runtimes import traits_of
from hostler.model.services import Service

_SILENT = (HostCondition.UNREACHABLE, HostCondition.REFUSED)
_LOST = (StageStatus.FAILED, StageStatus.CANCELLED, StageStatus.SKIPPED)
_MOST_SAID = 200
"""Longest text of a host about its check, in characters."""


class Seen:
    """One service of a snapshot. Each part is computed once: the daemon plans on every event, for
    every service."""

    def __init__(self, state: ServiceState, index: Index) -> None:
        self.state, self.index = state, index
        known = {release.number: index.progress.get(release.run_id) for release in state.releases}
        self.runs: dict[int, Run] = {
            number: progress.run for number, progress in known.items() if progress is not None
        }
        self.slots: tuple[tuple[Slot, Run, Stage], ...] = tuple(self._slots())
        """All slots of the runs, wanted or not."""
        self._tries: list[tuple[Slot, list[Attempt]]] = list(self._tried())

    def situation(self) -> Situation:
        """Return the situation for the rules."""
        state, snapshot, services = self.state, self.index.snapshot, self._services()
        return Situation(
            now=snapshot.now,
            deployment=state.deployment,
            live=state.live,
            opened=state.opened,
            steps=state.steps,
            replicas=tuple(self._replicas()),
            gateway=state.gateway,
            was_unheard=state.was_unheard,
            is_direct=state.is_direct,
            is_routing=state.is_routing,
            unreached=state.unreached,
            verified=self._verified(),
            not_delivered=self._not_delivered(),
            trouble=self._trouble(),
            startups={number: each.startup for number, each in services.items()},
            drains={number: each.drain for number, each in services.items()},
            draining=state.draining,
            waits=self._waits(),
            ended=self._ended(),
            begun_at=snapshot.begun_at,
            earlier=state.earlier,
        )

    def _slots(self) -> Iterator[tuple[Slot, Run, Stage]]:
        for number, run in self.runs.items():
            for stage in run.stages:
                if stage.service is not None:
                    yield Slot(number, slot_index(stage.name)), run, stage

    def tries_of(self, key: tuple[str, str]) -> Sequence[Attempt]:
        """The attempts of a replica, by run and stage."""
        return self.index.progress[key[0]].tries.get(key[1], ())

    def _tried(self) -> Iterator[tuple[Slot, list[Attempt]]]:
        for slot, run, stage in self.slots:
            tries = self.index.progress[run.run_id].tries.get(stage.name)
            if tries:
                yield slot, tries

    def _replicas(self) -> Iterator[Replica]:
        for slot, tries in self._tries:
            if tries[-1].phase.is_at_work:
                yield self._replica(slot, tries[-1])

    def _replica(self, slot: Slot, attempt: Attempt) -> Replica:
        host = self.index.hosts.get(attempt.host)
        answered = is_ready(attempt)
        health = self._health(attempt, self._look(attempt))
        return Replica(
            slot,
            attempt.attempt_id,
            attempt.host,
            attempt.launched_at,
            answered,
            answered and health is not None and health.ok,
            attempt.host in self.index.fresh,
            host is None or host.condition in _SILENT,
            clean_line(health.said, _MOST_SAID) if health is not None else "",
        )

    def _look(self, attempt: Attempt) -> Look | None:
        """The fresh look of its host; None: there is none, or it is from before the launch and
        proves nothing."""
        look = self.index.fresh.get(attempt.host)
        if look is None or attempt.launched_at is None:
            return look
        return look if look.asked_at > known_since(attempt, self.index.snapshot) else None

    def _health(self, attempt: Attempt, look: Look | None) -> Health | None:
        return look.health.get(attempt.attempt_id) if look is not None else None

    def _waits(self) -> Mapping[Slot, float]:
        """Slot -> the time of its first launch, or of its last answer."""
        return {
            slot: at for slot, tries in self._tries if (at := self._waits_since(tries)) is not None
        }

    def _waits_since(self, tries: list[Attempt]) -> float | None:
        snapshot = self.index.snapshot
        since = None
        for attempt in tries:
            if attempt.launched_at is None:
                continue
            if attempt.ready_at is None:
                since = known_since(attempt, snapshot) if since is None else since
            elif attempt.phase.is_at_work:
                since = self._answered_until(attempt)
            else:
                since = ended_at(attempt, snapshot)
        return since

    def _answered_until(self, attempt: Attempt) -> float:
        """When it last answered; by the host's own clock, if the host reports since when it
        fails."""
        snapshot, look = self.index.snapshot, self._look(attempt)
        health = self._health(attempt, look)
        if look is None or health is None or health.ok or look.up is None:
            return snapshot.now
        return look.asked_at - max(0.0, look.up - health.since)

    def _ended(self) -> Mapping[Slot, float]:
        snapshot = self.index.snapshot
        return {
            slot: ended_at(tries[-1], snapshot)
            for slot, tries in self._tries
            if tries[-1].phase.is_final
        }

    def _verified(self) -> Mapping[int, frozenset[str]]:
        """Release -> the hosts that need not pull its image."""
        found = dict(self.state.verified)
        for release in self.state.releases:
            stage, run = self._stage(release), self.runs.get(release.number)
            if stage is not None and run is not None:
                known = found.get(release.number, frozenset())
                found[release.number] = known | self._with_image(run, stage)
        return found

    def _with_image(self, run: Run, stage: Stage) -> frozenset[str]:
        """The hosts that need not pull a stage's image. These are all hosts for a process, and for
        an image that was built or that the daemon keeps, because the daemon copies it. Otherwise
        these are the hosts that reported the image, or on which a replica of that image answers."""
        snapshot, progress = self.index.snapshot, self.index.progress[run.run_id]
        is_brought = image_build(progress, stage) is not None or stage.image in snapshot.images
        if is_brought or not traits_of(stage.runtime).has_engine:
            return frozenset(self.index.hosts)
        said = snapshot.near.get((run.run_id, stage.name), frozenset())
        return said.union(self._answering(stage))

    def _answering(self, stage: Stage) -> Iterator[str]:
        """Hosts with replicas of the same image, by its name."""
        for _, run, other in self.slots:
            if other.image is not None and other.image == stage.image:
                tries = self.tries_of((run.run_id, other.name))
                yield from (a.host for a in tries if a.phase.is_at_work and is_ready(a))

    def _stage(self, release: Release | None) -> Stage | None:
        """The first replica's stage; all replicas are identical. None: the run is unknown or has no
        service."""
        run = self.runs.get(release.number) if release is not None else None
        return next((s for s in run.stages if s.service is not None), None) if run else None

    def _services(self) -> Mapping[int, Service]:
        found = {release.number: self._stage(release) for release in self.state.releases}
        return {
            number: stage.service
            for number, stage in found.items()
            if stage is not None and stage.service is not None
        }

    def _not_delivered(self) -> str:
        release = self.state.opened
        run = self.runs.get(release.number) if release is not None else None
        stage = self._stage(release)
        if run is None or stage is None:
            return ""
        progress = self.index.progress[run.run_id]
        unmet = progress.unmet(stage)
        if not unmet:
            return ""
        return f"waits for {unmet[0]} ({progress.status[unmet[0]]})"

    def _trouble(self) -> str:
        release = self.state.opened
        if release is None:
            return ""
        run = self.runs.get(release.number)
        if run is None:
            return f"its run {release.run_id} has ended"
        if run.cancelled_by is not None:
            return f"{run.cancelled_by} stopped it"
        progress, stage = self.index.progress[run.run_id], self._stage(release)
        if stage is None:
            return f"its run {run.run_id} has no service"
        if progress.status[stage.name] in _LOST:
            return progress.notes.get(stage.name) or f"{stage.name} cannot start"
        replicas = (s.name for s in run.stages if s.service is not None)
        found = (_keeps_failing(progress.tries.get(name, ())) for name in replicas)
        return next(filter(None, found), "")


def _keeps_failing(tries: Sequence[Attempt]) -> str:
    """Why the release no longer waits for a replica that has never answered; "": it still waits."""
    times = failures_in_a_row(tries)
    if times < FAILING or any(attempt.ready_at is not None for attempt in tries):
        return ""
    last = next(attempt for attempt in reversed(tries) if attempt.phase.is_final)
    return f"{last.stage} failed {times} times on {last.host}: {last.detail}"


def slot_index(stage: str) -> int:
    """The number of a replica, from the name of its stage; -1: the stage is no replica."""
    number = stage.rpartition(".")[2]
    return int(number) if number.isdecimal() else -1
