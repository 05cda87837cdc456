"""Services, replicas, releases and deploys, as the API gives them."""

from __future__ import annotations

from dataclasses import dataclass

from hostler.model.views.traffic import TrafficView


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    """One replica of a service, which is a stage of its run."""

    name: str
    """Of the stage: `serve.0`."""
    state: str = ""
    """"waiting", "starting" (its command begins, or is not ready yet), "ready", "unhealthy" (it was
    ready, and fails its checks), "unknown" (its host is silent) or "ended"."""
    host: str | None = None
    gpus: tuple[str, ...] = ()
    """UUIDs."""
    port: int | None = None
    """None while it is not ready."""
    address: str | None = None
    """Of its host, where everybody on that network reaches it; None: it is on the loopback
    (127.0.0.1)."""
    since: float | None = None
    """Since when it is ready, or was started."""
    restarts: int = 0
    """Attempts before this one."""
    error: str | None = None
    """Why it is not ready, else why the attempt before ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """A service."""

    name: str
    """Of the stage in the pipeline file; of one that was stopped, under which it was deployed."""
    run_id: str
    pipeline: str = ""
    owner: str = ""
    state: str = ""
    """"ready" (all replicas), "degraded" (some), "starting", "failing" (none, and it was tried
    several times), "waiting", "stopping" or, where these are asked for, "stopped"."""
    ready: int = 0
    wanted: int = 0
    """Replicas."""
    since: float = 0.0
    """Since when the first of its ready replicas is; else when the run was submitted; of one that
    was stopped, when its last run ended."""
    restarts: int = 0
    error: str | None = None
    replicas: tuple[ReplicaView, ...] = ()
    until: float | None = None
    """When it ends by itself; None: when it is stopped."""
    stopped: str | None = None
    """Why it is ending, or has ended, for people."""
    url: str | None = None
    """Where the gateway serves it; None: nowhere."""
    url_on: str | None = None
    """The host on which alone `url` answers, as the gateway listens at its loopback; None: it
    listens for other machines, too."""
    no_url: str | None = None
    """Why the gateway of the config does not serve it."""
    traffic: TrafficView | None = None
    """Its requests of the last minute; None: the gateway counts none."""
    release: int | None = None
    """Number of the release that its run is, of the service called like the pipeline; None: it was
    not deployed."""

    @property
    def called(self) -> str:
        """The name under which people know it."""
        return self.name if self.release is None else self.pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceList:
    """All services that were not stopped, the oldest first; then, where these are asked for, the
    stopped ones, the last first."""

    services: tuple[ServiceView, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """One release of a service."""

    service: str
    number: int = 0
    run_id: str = ""
    state: str = ""
    """"delivering", "starting", "ready", "shifting", "live", "retired", "failed" (it is being
    undone) or "restored" (it was)."""
    strategy: str = ""
    """"surge" or "recreate"."""
    replicas: int = 0
    by: str = ""
    at: float = 0.0
    """When it was deployed."""
    changed_at: float = 0.0
    """When it came into its state."""
    replaces: int | None = None
    """The release that was live before."""
    reason: str = ""
    """Why it is in its state; of one that takes over, what it waits for."""
    is_open: bool = False
    """It holds the deploy lock of its service."""
    url: str | None = None
    """Where the gateway serves the service while this release is live; None: nowhere, or its run is
    over."""
    traffic: TrafficView | None = None
    """All its requests; None: the gateway has counted none."""


@dataclass(frozen=True, slots=True)
class ReleaseList:
    """Releases of a service, the newest first."""

    releases: tuple[ReleaseView, ...] = ()


@dataclass(frozen=True, slots=True)
class DeployView:
    """What a deploy would do."""

    service: str
    replaces: int | None = None
    """The release that is live now."""
    strategy: str = ""
    """"" where a rollback undoes the release that is open."""
    changes: tuple[str, ...] = ()
    """A line for each key that differs from what is live."""
    how: str = ""
    """In one sentence."""
    gap: str = ""
    """What does not answer meanwhile; "": nothing."""
    release: int | None = None
    """Of a rollback: the release that is brought back, or that serves once the open one is
    undone."""
    takes_s: float | None = None
    """About how long until it serves, by the last start of the live release; None: not known."""
    url: str | None = None
    """Where the gateway will serve it; None: nowhere."""
    is_stopped: bool = False
    """The release `replaces` was stopped: nothing serves now."""


@dataclass(frozen=True, slots=True)
class ReleaseChanges:
    """What differs between two releases of a service."""

    service: str
    release: int = 0
    against: int = 0
    changes: tuple[str, ...] = ()
    """A line for each key that differs, as it was in `against` and is in `release`."""
