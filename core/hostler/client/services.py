"""The calls about services: list, traffic, scale, stop, extend, deploy, releases, rollback,
changes. Pure."""

from __future__ import annotations

from hostler.client.call import Call, get, new_key, post
from hostler.model import views
from hostler.model.codec import from_answer as read
from hostler_agent.json_values import Outgoing


def listed(*, stopped: bool = False) -> Call[tuple[views.services.ServiceView, ...]]:
    """All services that were not stopped, with their replicas, their addresses, and why a replica
    is not ready. `stopped`: includes services that were deployed and stopped."""
    asked = {"stopped": True} if stopped else {}
    return get(lambda told: read(views.services.ServiceList, told).services, "services", **asked)


def traffic(name: str, minutes: int = 60) -> Call[views.traffic.TrafficHistory]:
    """Requests, failures and response times of a service behind the gateway, in the last so many
    minutes: a series for each release that had any."""
    return get(
        lambda told: read(views.traffic.TrafficHistory, told), "services", name, "traffic",
        minutes=minutes,
    )  # fmt: skip


def scale(name: str, replicas: int) -> Call[views.services.ServiceView]:
    """Run a service in this many replicas; 0 pauses a deployed service. `name`: of the stage, of
    the pipeline, of the run, or `RUN.STAGE`."""
    return post(_service, "services", name, "scale", body={"replicas": replicas})


def stop(name: str) -> Call[views.services.ServiceView]:
    """Stop a service."""
    return post(_service, "services", name, "stop")


def extend(name: str, seconds: float) -> Call[views.services.ServiceView]:
    """Extend a service that has an end by this many seconds."""
    return post(_service, "services", name, "extend", body={"seconds": seconds})


def _service(told: object) -> views.services.ServiceView:
    return read(views.services.ServiceView, told)


def deploy(wanted: Outgoing, *, key: str | None = None) -> Call[views.services.ReleaseView]:
    """Open a release of a service: a `pipeline` text, as for `submit`, with `set_env`, `strategy`
    and `rebuild`. It takes over by itself; `releases` says how far it is."""
    return post(_release, "deploy", body=dict(wanted), key=key or new_key())


def plan_deploy(wanted: Outgoing) -> Call[views.services.DeployView]:
    """How a deploy would change the live release, and how it would take over; changes nothing."""
    return post(_plan, "deploy", "plan", body=dict(wanted))


def releases(service: str) -> Call[tuple[views.services.ReleaseView, ...]]:
    """The releases of a deployed service, the newest first. `service`: its pipeline."""
    return get(lambda told: read(views.services.ReleaseList, told).releases, "deploy", service)


def rollback(
    service: str, release: int | None = None, *, key: str | None = None
) -> Call[views.services.ReleaseView]:
    """Undo the release that takes over now. Where none does, or `release` names one, bring that
    one back, or the last that was live before, as a new release."""
    body = {"release": release}
    return post(_release, "deploy", service, "rollback", body=body, key=key or new_key())


def plan_rollback(service: str, release: int | None = None) -> Call[views.services.DeployView]:
    """What a rollback would do, and about how long it takes; changes nothing."""
    body = {"release": release}
    return post(_plan, "deploy", service, "rollback", "plan", body=body)


def release_changes(
    service: str, release: int, against: int
) -> Call[views.services.ReleaseChanges]:
    """The difference between two releases: each key with its value in `against` and in
    `release`."""
    return get(
        lambda told: read(views.services.ReleaseChanges, told),
        "deploy", service, str(release), "changes", against=against,
    )  # fmt: skip


def _plan(told: object) -> views.services.DeployView:
    return read(views.services.DeployView, told)


def _release(told: object) -> views.services.ReleaseView:
    return read(views.services.ReleaseView, told)
