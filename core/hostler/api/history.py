"""Routes about the past: search of runs, comparison, GPU measurements, usage, audit; the most
runs, minutes and entries of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from hostler.api.answers import answer, gives, service_of
from hostler.api.peer import Who
from hostler.insight.search import Search, read_conditions, read_order
from hostler.model.records import AuditFilter, RunFilter
from hostler.model.views.audit import AuditPage
from hostler.model.views.history import (
    ComparedRuns,
    FleetHistory,
    HistoryPage,
    HostHistory,
    StageUsage,
)

router = APIRouter()
Word = Annotated[str | None, Query(max_length=200)]
Conditions = Annotated[Sequence[Annotated[str, Field(max_length=200)]], Query(max_length=20)]
Minutes = Annotated[int, Query(ge=1, le=1440)]


@router.get("/hosts/{name}/history", responses=gives(HostHistory))
async def host_history(request: Request, name: str, minutes: Minutes = 60) -> JSONResponse:
    """The recent use of each GPU of a host, minute by minute."""
    service = service_of(request)
    return answer(await service.measures.of_host(service.host(name), minutes))


@router.get("/runs/{run_id}/usage/{stage}", responses=gives(StageUsage))
async def usage(request: Request, run_id: str, stage: str) -> JSONResponse:
    """The resources that a stage's attempts used, and the GPU use of the last one over its life."""
    service = service_of(request)
    return answer(await service.measures.of_stage(await service.run(run_id), stage))


@router.get("/history/runs", responses=gives(HistoryPage))
async def search(
    request: Request,
    state: Word = None,
    pipeline: Word = None,
    owner: Word = None,
    since: float | None = None,
    until: float | None = None,
    param: Conditions = (),
    metric: Conditions = (),
    text: Word = None,
    sort: Word = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    offset: Annotated[int, Query(ge=0, lt=2**53)] = 0,
    releases: bool = True,
) -> JSONResponse:
    """Search all runs by their inputs and results; on request without releases of services."""
    wanted = Search(
        runs=RunFilter(
            state=state,
            pipeline=pipeline,
            owner=owner,
            since=since,
            until=until,
            releases=releases,
        ),
        params=read_conditions(param, numbers=False),
        metrics=read_conditions(metric, numbers=True),
        text=text,
        order=read_order(sort),
    )
    return answer(await service_of(request).past.search(wanted, limit, offset))


@router.get("/history/compare", responses=gives(ComparedRuns))
async def compare(
    request: Request,
    run: Annotated[list[Annotated[str, Field(max_length=200)]], Query(min_length=1, max_length=12)],
) -> JSONResponse:
    """Runs side by side, including open ones."""
    service = service_of(request)
    return answer(await service.past.compare([await service.run(run_id) for run_id in run]))


@router.get("/history/fleet", responses=gives(FleetHistory))
async def fleet_history(request: Request, minutes: Minutes = 60) -> JSONResponse:
    """The recent use of all GPUs together, minute by minute."""
    return answer(await service_of(request).measures.of_fleet(minutes))


@router.get("/audit", responses=gives(AuditPage))
async def audit(
    request: Request,
    who: Who,
    user: Word = None,
    since: float | None = None,
    call: Word = None,
    run: Word = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
) -> JSONResponse:
    """Calls and their users, newest first: all calls for the daemon's owner and operators, their
    own for others."""
    service = service_of(request)
    run = None if run is None else await service.named_run(run)
    wanted = AuditFilter(user=user, since=since, call=call, run=run)
    entries = await service.audit.list(who, wanted, limit)
    return answer(AuditPage(entries=tuple(entries)))
