"""Routes about the past: what was measured."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from hostler.api.answers import answer
from hostler.daemon.service import Service

router = APIRouter()
Minutes = Annotated[int, Query(ge=1, le=1440)]


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@router.get("/hosts/{name}/history")
async def host_history(request: Request, name: str, minutes: Minutes = 60) -> JSONResponse:
    """What each GPU of a host did lately, minute by minute."""
    service = _service(request)
    return answer(await service.measures.of_host(service.host(name), minutes))


@router.get("/runs/{run_id}/usage/{stage}")
async def usage(request: Request, run_id: str, stage: str) -> JSONResponse:
    """What the attempts of a stage used, and what the last one's GPUs did over its life."""
    service = _service(request)
    return answer(await service.measures.of_stage(await service.run(run_id), stage))


@router.get("/history/fleet")
async def fleet_history(request: Request, minutes: Minutes = 60) -> JSONResponse:
    """What all GPUs together did lately, minute by minute."""
    return answer(await _service(request).measures.of_fleet(minutes))
