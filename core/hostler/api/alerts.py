"""Routes about alerts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse

from hostler.api.answers import answer
from hostler.api.described import gives
from hostler.api.peer import caller_of
from hostler.daemon.alerts import Alerts
from hostler.model.calls import Caller
from hostler.model.views.alerts import AlertList, AlertView

router = APIRouter()
Who = Annotated[Caller, Depends(caller_of)]
Number = Annotated[int, Path(ge=1, lt=2**63)]


def _alerts(request: Request) -> Alerts:
    alerts: Alerts = request.app.state.service.alerts
    return alerts


@router.get("/alerts", responses=gives(AlertList))
async def alerts(
    request: Request,
    open_only: Annotated[bool, Query(alias="open")] = False,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 200,
) -> JSONResponse:
    """The alerts, newest first."""
    return answer(await _alerts(request).list(open_only=open_only, limit=limit))


@router.post("/alerts/{alert_id}/acknowledge", responses=gives(AlertView))
async def acknowledge(request: Request, alert_id: Number, who: Who) -> JSONResponse:
    """Note durably that somebody has seen an alert."""
    return answer(await _alerts(request).acknowledge(alert_id, who))


@router.post("/alerts/{alert_id}/unacknowledge", responses=gives(AlertView))
async def unacknowledge(request: Request, alert_id: Number, who: Who) -> JSONResponse:
    """Undo the acknowledgement."""
    return answer(await _alerts(request).unacknowledge(alert_id, who))
