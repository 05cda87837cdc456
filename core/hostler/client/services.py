"""The calls about services. Pure."""

from __future__ import annotations

from hostler.client.call import Call, get
from hostler.model import views
from hostler.model.codec import from_answer as read


def listed() -> Call[tuple[views.services.ServiceView, ...]]:
    """All services that were not stopped, with their replicas, where these are reached, and why one
    is not ready."""
    return get(lambda told: read(views.services.ServiceList, told).services, "services")
