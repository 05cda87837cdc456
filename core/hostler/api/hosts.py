"""Routes about hosts, GPUs and alerts: fleet, drain and undrain, clean, immediate reconnect, and
acknowledging alerts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse

from hostler.api.answers import answer, gives, service_of
from hostler.api.bodies import CleanBody, DrainBody
from hostler.api.peer import Who
from hostler.model.views.alerts import AlertList, AlertView
from hostler.model.views.gpus import FleetView
from hostler.model.views.hosts import CleanView, DrainView, HostList, HostName, HostView

router = APIRouter()
Number = Annotated[int, Path(ge=1, lt=2**63)]


@router.get("/gpus", responses=gives(FleetView))
async def gpus(request: Request) -> JSONResponse:
    """Which GPU is free: the `hostler.gpus/1` object."""
    return answer(service_of(request).gpus())


@router.get("/hosts", responses=gives(HostList))
async def hosts(request: Request, who: Who) -> JSONResponse:
    """Every host with its condition, facts and last look."""
    return answer(HostList(hosts=tuple(service_of(request).hosts(who))))


@router.get("/hosts/{name}", responses=gives(HostView))
async def host(request: Request, name: str, who: Who) -> JSONResponse:
    """One host with its condition, facts and last look."""
    return answer(service_of(request).host(name, who))


@router.post("/hosts/{name}/drain", responses=gives(DrainView))
async def drain(request: Request, name: str, body: DrainBody, who: Who) -> JSONResponse:
    """Place no new work on the host. Running work continues."""
    await service_of(request).drain(name, body.reason, who)
    return answer(DrainView(host=name, drained=body.reason or f"by {who.user}"))


@router.post("/hosts/{name}/undrain", responses=gives(DrainView))
async def undrain(request: Request, name: str, who: Who) -> JSONResponse:
    """Give the host new work again."""
    await service_of(request).undrain(name, who)
    return answer(DrainView(host=name))


@router.post("/hosts/{name}/clean", responses=gives(CleanView))
async def clean(request: Request, name: str, body: CleanBody, who: Who) -> JSONResponse:
    """Remove files there that no open or kept run needs."""
    return answer(await service_of(request).cleaner.clean(name, body.to_model(), who))


@router.post("/hosts/{name}/retry", responses=gives(HostName))
async def retry(request: Request, name: str, who: Who) -> JSONResponse:
    """Try to connect again at once, also after a refused login."""
    service_of(request).retry_host(name, who)
    return answer(HostName(host=name))


@router.get("/alerts", responses=gives(AlertList))
async def alerts(
    request: Request,
    open_only: Annotated[bool, Query(alias="open")] = False,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 200,
) -> JSONResponse:
    """The alerts, newest first."""
    return answer(await service_of(request).alerts.list(open_only=open_only, limit=limit))


@router.post("/alerts/{alert_id}/acknowledge", responses=gives(AlertView))
async def acknowledge(request: Request, alert_id: Number, who: Who) -> JSONResponse:
    """Acknowledge an alert durably."""
    return answer(await service_of(request).alerts.acknowledge(alert_id, who))


@router.post("/alerts/{alert_id}/unacknowledge", responses=gives(AlertView))
async def unacknowledge(request: Request, alert_id: Number, who: Who) -> JSONResponse:
    """Undo the acknowledgement."""
    return answer(await service_of(request).alerts.unacknowledge(alert_id, who))
