"""Routes about runs: submit, check, plan, list, show, why, metrics, cancel, priority, retry,
rerun, remove, keep, gc; with the most runs per answer."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse

from hostler.api.answers import answer, gives, service_of
from hostler.api.bodies import (
    GcBody,
    KeepBody,
    PriorityBody,
    RerunBody,
    RetryBody,
    SubmitBody,
    own_secrets,
)
from hostler.api.peer import Who
from hostler.daemon.views import source_view
from hostler.model.records import RunFilter
from hostler.model.views.files import ArtifactList
from hostler.model.views.history import MetricsPage
from hostler.model.views.kept import GcView, KeptView
from hostler.model.views.plans import CheckView, PlanView, RetryView, WhyView
from hostler.model.views.runs import NewRun, RemovedRun, RunDetail, RunList, RunSource

router = APIRouter()
Place = Annotated[str | None, Query(max_length=40)]
Points = Annotated[int | None, Query(ge=2, le=10_000)]
Key = Annotated[
    str | None, Header(alias="idempotency-key", max_length=64, pattern="^[A-Za-z0-9_-]+$")
]
"""A request sent again with the same key and body makes no second run."""


@router.post("/runs", responses=gives(NewRun, 201))
async def submit(request: Request, body: SubmitBody, who: Who, key: Key = None) -> JSONResponse:
    """Submit a pipeline or a command. Answered once the run is durable."""
    service = service_of(request)
    run = await service.submit(body.to_model(), who, key)
    return answer(await service.describe_new(run), 201)


@router.post("/check", responses=gives(CheckView))
async def check(request: Request, body: SubmitBody, who: Who) -> JSONResponse:
    """Whether the daemon would accept a submission, before its source is uploaded; changes
    nothing."""
    return answer(await service_of(request).check(body.to_model(), who))


@router.post("/plan", responses=gives(PlanView))
async def plan(request: Request, body: SubmitBody, who: Who) -> JSONResponse:
    """Where every stage of a submission would be placed now, and why; changes nothing."""
    return await asyncio.to_thread(answer, await service_of(request).preview(body.to_model(), who))


@router.get("/runs", responses=gives(RunList))
async def list_runs(
    request: Request,
    state: Annotated[str | None, Query(max_length=20)] = None,
    pipeline: Annotated[str | None, Query(max_length=200)] = None,
    owner: Annotated[str | None, Query(max_length=200)] = None,
    since: float | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
) -> JSONResponse:
    """Summaries of runs, newest first."""
    wanted = RunFilter(state=state, pipeline=pipeline, owner=owner, since=since)
    return answer(await service_of(request).list_runs(wanted, limit))


@router.get("/runs/{run_id}", responses=gives(RunDetail))
async def show(request: Request, run_id: str) -> JSONResponse:
    """One run with its stages, attempts, statuses and reasons."""
    return answer(await service_of(request).describe(run_id))


@router.get("/runs/{run_id}/source", responses=gives(RunSource))
async def source(request: Request, run_id: str) -> JSONResponse:
    """Where a run's code came from, with what differed from its commit."""
    return answer(source_view(await service_of(request).run(run_id)))


@router.get("/runs/{run_id}/why", responses=gives(WhyView))
async def why(request: Request, run_id: str, stage: str | None = None) -> JSONResponse:
    """Why the stages of a run wait, were placed where they are, or ended as they did."""
    return answer(await service_of(request).why(run_id, stage))


@router.get("/runs/{run_id}/metrics/{stage}", responses=gives(MetricsPage))
async def metrics(
    request: Request, run_id: str, stage: str, after: Place = None, points: Points = None
) -> JSONResponse:
    """The metrics of a stage, oldest first: every number, a page at a time, or about so many
    `points` of each metric."""
    service = service_of(request)
    run = await service.run(run_id)
    if points is not None:
        found = await service.numbers.thinned(run, stage, points)
    else:
        found = await service.numbers.page(run, stage, after)
    return await asyncio.to_thread(answer, found)


@router.get("/runs/{run_id}/artifacts", responses=gives(ArtifactList))
async def artifacts(request: Request, run_id: str) -> JSONResponse:
    """The outputs of a run."""
    return answer(await service_of(request).artifacts(run_id))


@router.post("/runs/{run_id}/cancel", responses=gives(RunDetail))
async def cancel(request: Request, run_id: str, who: Who) -> JSONResponse:
    """Stop running stages and never start waiting ones. Answered once the request is durable."""
    service = service_of(request)
    return answer(await service.describe(await service.cancel(run_id, who)))


@router.post("/runs/{run_id}/priority", responses=gives(RunDetail))
async def priority(request: Request, run_id: str, body: PriorityBody, who: Who) -> JSONResponse:
    """Lower a waiting run's priority."""
    service = service_of(request)
    return answer(await service.describe(await service.lower(run_id, body.priority, who)))


@router.post("/runs/{run_id}/retry", responses=gives(NewRun, 201))
async def retry(
    request: Request, run_id: str, who: Who, body: RetryBody | None = None, key: Key = None
) -> JSONResponse:
    """A new run of the stages that did not succeed, with new code or parameters if given."""
    service = service_of(request)
    run = await service.retry(run_id, who, (body or RetryBody()).to_model(), key)
    return answer(await service.describe_new(run), 201)


@router.post("/runs/{run_id}/retry/plan", responses=gives(RetryView))
async def plan_retry(request: Request, run_id: str, body: RetryBody, who: Who) -> JSONResponse:
    """Which stages a retry would keep, and which would run again, and why; changes nothing."""
    found = await service_of(request).plan_retry(run_id, who, body.to_model())
    return await asyncio.to_thread(answer, found)


@router.post("/runs/{run_id}/rerun", responses=gives(RunDetail, 201))
async def rerun(
    request: Request, run_id: str, body: RerunBody, who: Who, key: Key = None
) -> JSONResponse:
    """A new run of everything."""
    service = service_of(request)
    source = body.source.to_model() if body.source is not None else None
    run = await service.rerun(run_id, who, source, key, own_secrets(body.secrets))
    return answer(await service.describe(run.run_id), 201)


@router.delete("/runs/{run_id}", responses=gives(RemovedRun))
async def remove(request: Request, run_id: str, who: Who) -> JSONResponse:
    """Forget a finished run, its logs and all that only this run kept."""
    return answer(RemovedRun(removed=await service_of(request).remove(run_id, who)))


@router.post("/gc", responses=gives(GcView))
async def collect_garbage(request: Request, body: GcBody, who: Who) -> JSONResponse:
    """Delete expired logs, snapshots and outputs, or only list them."""
    return answer(await service_of(request).collect_garbage(body.dry_run, who))


@router.get("/runs/{run_id}/kept", responses=gives(KeptView))
async def kept(request: Request, run_id: str, who: Who) -> JSONResponse:
    """Which files of a run of the caller are kept, where, and until when."""
    service = service_of(request)
    return answer(await service.keeping.of(await service.run(run_id), who))


@router.post("/runs/{run_id}/keep", responses=gives(KeptView))
async def keep(request: Request, run_id: str, body: KeepBody, who: Who) -> JSONResponse:
    """Keep a run and all its files, until a time or forever. Answered once the request is
    durable."""
    service = service_of(request)
    return answer(await service.keeping.keep(await service.run(run_id), body.until, who))


@router.delete("/runs/{run_id}/keep", responses=gives(KeptView))
async def unkeep(request: Request, run_id: str, who: Who) -> JSONResponse:
    """Keep it no longer than other runs."""
    service = service_of(request)
    return answer(await service.keeping.unkeep(await service.run(run_id), who))
