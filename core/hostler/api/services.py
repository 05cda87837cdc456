"""Routes about services."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from hostler.api.answers import answer, gives, service_of
from hostler.api.bodies import ExtendBody, ScaleBody
from hostler.api.peer import Who
from hostler.daemon.service import Service
from hostler.daemon.service_wishes import Found, ServiceWishes
from hostler.daemon.services import list_services, show_service
from hostler.model.views.services import ServiceList, ServiceView

router = APIRouter()
Name = Annotated[str, Path(max_length=200)]


@router.get("/services", responses=gives(ServiceList))
async def services(request: Request) -> JSONResponse:
    """All services that were not stopped, with their replicas."""
    service = service_of(request)
    found = list_services(service.context, service.controller.plan.reasons)
    return answer(service.gateways.with_urls(found))


@router.post("/services/{name}/scale", responses=gives(ServiceView))
async def scale(request: Request, name: Name, body: ScaleBody, who: Who) -> JSONResponse:
    """Change how many replicas a service has. Answered once that is durable, as all of these."""
    service = service_of(request)
    return _shown(service, await _wishes(service).scale(name, body.replicas, who))


@router.post("/services/{name}/stop", responses=gives(ServiceView))
async def stop(request: Request, name: Name, who: Who) -> JSONResponse:
    """Stop a service."""
    service = service_of(request)
    return _shown(service, await _wishes(service).stop(name, who))


@router.post("/services/{name}/extend", responses=gives(ServiceView))
async def extend(request: Request, name: Name, body: ExtendBody, who: Who) -> JSONResponse:
    """Let a service run longer than its `until`."""
    service = service_of(request)
    return _shown(service, await _wishes(service).extend(name, body.seconds, who))


def _wishes(service: Service) -> ServiceWishes:
    return ServiceWishes(service.context, service.audit)


def _shown(service: Service, found: Found) -> JSONResponse:
    shown = show_service(service.context, service.controller.plan.reasons, *found)
    return answer(service.gateways.with_url(shown))
