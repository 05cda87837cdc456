"""Routes about services."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from hostler.api.answers import answer, gives, service_of
from hostler.daemon.services import list_services
from hostler.model.views.services import ServiceList

router = APIRouter()


@router.get("/services", responses=gives(ServiceList))
async def services(request: Request) -> JSONResponse:
    """All services that were not stopped, with their replicas."""
    service = service_of(request)
    return answer(list_services(service.context, service.controller.plan.reasons))
