"""The calls about services. Pure."""

from __future__ import annotations

from hostler.client.call import Call, get, post
from hostler.model import views
from hostler.model.codec import from_answer as read


def listed() -> Call[tuple[views.services.ServiceView, ...]]:
    """All services that were not stopped, with their replicas, where these are reached, and why one
    is not ready."""
    return get(lambda told: read(views.services.ServiceList, told).services, "services")


def scale(name: str, replicas: int) -> Call[views.services.ServiceView]:
    """Have a service run in so many replicas. `name`: of the stage, of the run, or `RUN.STAGE`."""
    return post(_service, "services", name, "scale", body={"replicas": replicas})


def stop(name: str) -> Call[views.services.ServiceView]:
    """Stop a service."""
    return post(_service, "services", name, "stop")


def extend(name: str, seconds: float) -> Call[views.services.ServiceView]:
    """Let a service that has an end run so many seconds longer."""
    return post(_service, "services", name, "extend", body={"seconds": seconds})


def _service(told: object) -> views.services.ServiceView:
    return read(views.services.ServiceView, told)
