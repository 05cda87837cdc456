"""Routes about hosts and GPUs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from hostler.api.answers import answer, service_of
from hostler.api.bodies import CleanBody, DrainBody
from hostler.api.described import gives
from hostler.api.peer import caller_of
from hostler.model.calls import Caller
from hostler.model.views.gpus import FleetView
from hostler.model.views.hosts import CleanView, DrainView, HostList, HostName, HostView

router = APIRouter()
Who = Annotated[Caller, Depends(caller_of)]


@router.get("/gpus", responses=gives(FleetView))
async def gpus(request: Request) -> JSONResponse:
    """Which GPU is free: the `hostler.gpus/1` object."""
    return answer(service_of(request).gpus())


@router.get("/hosts", responses=gives(HostList))
async def hosts(request: Request) -> JSONResponse:
    """Every host with its condition, facts and last look."""
    return answer(HostList(hosts=tuple(service_of(request).hosts())))


@router.get("/hosts/{name}", responses=gives(HostView))
async def host(request: Request, name: str) -> JSONResponse:
    """One host with its condition, facts and last look."""
    return answer(service_of(request).host(name))


@router.post("/hosts/{name}/drain", responses=gives(DrainView))
async def drain(request: Request, name: str, body: DrainBody, who: Who) -> JSONResponse:
    """Give the host no new work. What runs there goes on."""
    await service_of(request).drain(name, body.reason, who)
    return answer(DrainView(host=name, drained=body.reason or f"by {who.user}"))


@router.post("/hosts/{name}/undrain", responses=gives(DrainView))
async def undrain(request: Request, name: str, who: Who) -> JSONResponse:
    """Give the host new work again."""
    await service_of(request).undrain(name, who)
    return answer(DrainView(host=name))


@router.post("/hosts/{name}/clean", responses=gives(CleanView))
async def clean(request: Request, name: str, body: CleanBody, who: Who) -> JSONResponse:
    """Remove what lies there and no open or kept run needs."""
    return answer(await service_of(request).cleaner.clean(name, body.to_model(), who))


@router.post("/hosts/{name}/retry", responses=gives(HostName))
async def retry(request: Request, name: str, who: Who) -> JSONResponse:
    """Try to connect again at once, also after a refused login."""
    service_of(request).retry_host(name, who)
    return answer(HostName(host=name))
