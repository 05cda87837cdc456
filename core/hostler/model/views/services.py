"""Services, replicas, releases and deploys, in the API."""

from __future__ import annotations

from dataclasses import dataclass

from hostler.model.views.traffic import TrafficView


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    """One replica of a service, which is a stage of its run."""

    name: str
    """Name of its stage: `serve.0`."""
    state: str = ""
    """"waiting", "starting" (its command begins, or is not ready yet), "ready", "unhealthy" (it was
    ready, and now fails its checks), "unknown" (its host does not answer) or "ended"."""
    host: str | None = None
    gpus: tuple[str, ...] = ()
    """UUIDs of its GPUs."""
    port: int | None = None
    """Its port; None while it is not ready."""
    address: str | None = None
    """The address of its host, reachable from the whole network; None: it listens only on the
    loopback (127.0.0.1)."""
    since: float | None = None
    """When it became ready, or was started."""
    restarts: int = 0
    """Number of attempts before this one."""
    error: str | None = None
    """Why it is not ready; if it is, why the previous attempt ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """A service."""

    name: str
    """Name of the stage in the pipeline file; for a stopped one, the name under which it was
    deployed."""
    run_id: str
    pipeline: str = ""
    owner: str = ""
    state: str = ""
    """"ready" (all replicas), "degraded" (some), "starting", "failing" (none, after several
    attempts), "waiting", "stopping" or, if stopped services are requested, "stopped"."""
    ready: int = 0
    wanted: int = 0
    """Number of requested replicas."""
    since: float = 0.0
    """When the first of its ready replicas became ready; without one, when the run was submitted;
    for a stopped service, when its last run ended."""
    restarts: int = 0
    error: str | None = None
    replicas: tuple[ReplicaView, ...] = ()
    until: float | None = None
    """When it ends automatically; None: only when it is stopped."""
    stopped: str | None = None
    """Why it is stopping or has ended, for people."""
    url: str | None = None
    """Its address at the gateway; None: it has none."""
    url_on: str | None = None
    """The only host on which `url` works, because the gateway listens on that host's loopback;
    None: `url` works from other machines too."""
    no_url: str | None = None
    """Why the configured gateway does not serve it."""
    traffic: TrafficView | None = None
    """Its requests of the last minute; None: the gateway does not count them."""
    release: int | None = None
    """Number of the release to which its run belongs; the service has the pipeline's name. None: it
    was not deployed."""

    @property
    def called(self) -> str:
        """The name of the service for people."""
        return self.name if self.release is None else self.pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceList:
    """All services that are not stopped, oldest first; then, if requested, the stopped ones, last
    stopped first."""

    services: tuple[ServiceView, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """One release of a service."""

    service: str
    number: int = 0
    run_id: str = ""
    state: str = ""
    """"delivering", "starting", "ready", "shifting", "live", "retired", "failed" (it is being
    undone) or "restored" (it was undone)."""
    strategy: str = ""
    """"surge" or "recreate"."""
    replicas: int = 0
    by: str = ""
    at: float = 0.0
    """When it was deployed."""
    changed_at: float = 0.0
    """When it entered its state."""
    replaces: int | None = None
    """The release that was live before it."""
    reason: str = ""
    """Why it is in its state; while it takes over, what it waits for."""
    is_open: bool = False
    """Whether it holds the deploy lock of its service."""
    url: str | None = None
    """Address of the service at the gateway while this release is live; None: it has none, or the
    run has ended."""
    traffic: TrafficView | None = None
    """All its requests; None: the gateway counted none."""


@dataclass(frozen=True, slots=True)
class ReleaseList:
    """Releases of a service, newest first."""

    releases: tuple[ReleaseView, ...] = ()


@dataclass(frozen=True, slots=True)
class DeployView:
    """What a deploy would do."""

    service: str
    replaces: int | None = None
    """The release that is live now."""
    strategy: str = ""
    """"surge" or "recreate"; "" if a rollback undoes the open release."""
    changes: tuple[str, ...] = ()
    """A line for each key that differs from the live release."""
    how: str = ""
    """The steps of the deploy, in one sentence."""
    gap: str = ""
    """What does not answer during the deploy; "": there is no gap."""
    release: int | None = None
    """For a rollback: the release that is restored, or that is live after the open one is
    undone."""
    takes_s: float | None = None
    """Estimated seconds until it is live, from the last start of the live release; None:
    unknown."""
    url: str | None = None
    """The address that it will have at the gateway; None: it will have none."""
    is_stopped: bool = False
    """Whether the release `replaces` was stopped, so that no release is live now."""


@dataclass(frozen=True, slots=True)
class ReleaseChanges:
    """The differences between two releases of a service."""

    service: str
    release: int = 0
    against: int = 0
    changes: tuple[str, ...] = ()
    """A line for each key that differs: its value in `against` and in `release`."""
