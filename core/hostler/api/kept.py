"""Routes about what is kept of runs."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from hostler.api.answers import answer, service_of
from hostler.api.bodies import KeepBody
from hostler.api.described import gives
from hostler.api.runs import Who
from hostler.model.views.kept import KeptView

router = APIRouter()


@router.get("/runs/{run_id}/kept", responses=gives(KeptView))
async def kept(request: Request, run_id: str, who: Who) -> JSONResponse:
    """What is kept of a run of the caller's, where, and until when."""
    service = service_of(request)
    return answer(await service.keeping.of(await service.run(run_id), who))


@router.post("/runs/{run_id}/keep", responses=gives(KeptView))
async def keep(request: Request, run_id: str, body: KeepBody, who: Who) -> JSONResponse:
    """Keep all of a run, up to a time or for ever. Answered once the wish is durable."""
    service = service_of(request)
    return answer(await service.keeping.keep(await service.run(run_id), body.until, who))


@router.delete("/runs/{run_id}/keep", responses=gives(KeptView))
async def unkeep(request: Request, run_id: str, who: Who) -> JSONResponse:
    """Keep it no longer than other runs."""
    service = service_of(request)
    return answer(await service.keeping.unkeep(await service.run(run_id), who))
