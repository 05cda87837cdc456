"""What the screen says of a service: its replicas and releases together, its state, problem,
rollback target and name. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hostler.model.views.services import ReleaseView, ReplicaView, ServiceView

Releases = Mapping[str, Sequence[ReleaseView]]
"""For each deployed service, the newest first."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica, of any release."""

    part: ServiceView
    view: ReplicaView
    number: int | None
    """The number of its release."""

    @property
    def key(self) -> str:
        """Run and stage."""
        return f"{self.part.run_id}/{self.view.name}"


@dataclass(frozen=True, slots=True)
class Service:
    """A deployed service, under the name of its pipeline, with all running parts of its releases;
    or the service of a run."""

    key: str
    name: str
    parts: tuple[ServiceView, ...]
    """The services of its open runs: first that of the live release. For a stopped service, that of
    its last run."""
    releases: tuple[ReleaseView, ...] = ()

    @property
    def owner(self) -> str:
        """The owner."""
        return self.parts[0].owner

    @property
    def is_deployed(self) -> bool:
        """It has releases."""
        return bool(self.releases)

    @property
    def is_stopped(self) -> bool:
        """It was deployed, and none of its replicas runs."""
        return all(part.state == "stopped" for part in self.parts)

    @property
    def opened(self) -> ReleaseView | None:
        """The release that is taking over now."""
        return next((release for release in self.releases if release.is_open), None)

    @property
    def live(self) -> ReleaseView | None:
        """The release that serves."""
        return next((release for release in self.releases if release.state == "live"), None)

    @property
    def target(self) -> ReleaseView | None:
        """The release that a rollback brings back, or that serves once the open one is undone. For
        a stopped service, the release that served last."""
        if self.opened is not None:
            before = self.opened.replaces
            return next((each for each in self.releases if each.number == before), None)
        last = self.live if self.is_stopped else None
        return last or next((each for each in self.releases if each.state == "retired"), None)

    @property
    def ended(self) -> frozenset[int]:
        """Numbers of releases that can be brought back."""
        found = (r for r in self.releases if not r.is_open)
        return frozenset(r.number for r in found if r.state != "live" or self.is_stopped)

    @property
    def state(self) -> str:
        """The state of the open release; without one, the state of the service."""
        return self.opened.state if self.opened is not None else self.parts[0].state

    @property
    def release_text(self) -> str:
        """ "3", "3 > 4" while 4 takes over, "3 < 4" while it is undone; "-" without releases."""
        live, opened = self.live, self.opened
        if opened is None:
            return str(live.number) if live is not None else "-"
        before = str(live.number) if live is not None else ""
        way = "<" if opened.state == "failed" else ">"
        return f"{before} {way} {opened.number}".strip()

    @property
    def ready(self) -> int:
        """Replicas that answer, of all releases."""
        return sum(part.ready for part in self.parts)

    @property
    def wanted(self) -> int:
        """Replicas that are wanted once all changes are complete."""
        return self.opened.replicas if self.opened is not None else self.parts[0].wanted

    @property
    def since(self) -> float:
        """Since when it answers; for a stopped service, when it ended."""
        return min(part.since for part in self.parts)

    @property
    def restarts(self) -> int:
        """The restarts of all its replicas."""
        return sum(part.restarts for part in self.parts)

    @property
    def url(self) -> str | None:
        """Its address at the gateway."""
        return next((part.url for part in self.parts if part.url), None)

    @property
    def problem(self) -> str | None:
        """The most important problem; for the release that takes over, while there is one."""
        opened = self.opened
        own = (p for p in self.parts if opened is None or p.run_id == opened.run_id)
        found = (part.stopped or part.error for part in own)
        return next(filter(None, found), None)

    @property
    def no_url(self) -> str | None:
        """Why the gateway does not serve it."""
        return None if self.url else next((p.no_url for p in self.parts if p.no_url), None)

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """The replicas of all its releases, the live one first."""
        numbers = {release.run_id: release.number for release in self.releases}
        return tuple(
            Replica(part, view, numbers.get(part.run_id))
            for part in self.parts
            for view in part.replicas
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names for stopping or scaling each of its runs' services: `RUN.STAGE`."""
        return tuple(f"{part.run_id}.{part.name}" for part in self.parts)


def grouped(views: Iterable[ServiceView], releases: Releases) -> tuple[Service, ...]:
    """Services with their runs and releases, in order of arrival."""
    found: dict[str, list[ServiceView]] = {}
    told = tuple(views)
    bases = Counter(view.run_id for view in told)
    for view in told:
        own = releases.get(view.pipeline, ())
        is_release = any(release.run_id == view.run_id for release in own)
        found.setdefault(view.pipeline if is_release else _own_key(view), []).append(view)
    return tuple(
        _of_run(key, parts, bases[parts[0].run_id] > 1)
        if key == _own_key(parts[0])
        else _deployed(key, parts, releases[key])
        for key, parts in found.items()
    )


def _own_key(view: ServiceView) -> str:
    """The key contains a character that is not allowed in names of deployed services."""
    return f"{view.run_id}/{view.name}"


def _of_run(key: str, parts: Sequence[ServiceView], is_one_of_several: bool) -> Service:
    """It has the name of its run's pipeline, which is more useful than the name of a stage."""
    part = parts[0]
    return Service(
        key, f"{part.pipeline}/{part.name}" if is_one_of_several else part.pipeline, (part,)
    )


def _deployed(name: str, parts: Sequence[ServiceView], releases: Sequence[ReleaseView]) -> Service:
    order = {release.run_id: release.state != "live" for release in releases}
    ordered = sorted(parts, key=lambda part: order.get(part.run_id, True))
    return Service(name, name, tuple(ordered), tuple(releases))
