"""The route of the audit table, and what notes refusals in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hostler.api.answers import REFUSAL, answer
from hostler.api.described import gives
from hostler.api.peer import caller_of
from hostler.daemon.audit import CONNECT, Audit
from hostler.daemon.service import Service
from hostler.model.calls import Caller
from hostler.model.records import AuditFilter
from hostler.model.views.daemon import AuditPage

router = APIRouter()
Who = Annotated[Caller, Depends(caller_of)]
Word = Annotated[str | None, Query(max_length=200)]

_SUBMITTED = ("/v1/runs", "/v1/check", "/v1/plan")
_VERBS = (
    "cancel", "priority", "retry", "rerun", "drain", "undrain", "acknowledge", "unacknowledge",
    "gc", "keep", "fetched", "shutdown", "ssh-agent", "audit", "clean",
)  # fmt: skip
_RUN = re.compile(r"/v1/runs/([a-z0-9]{1,16})(?:/|$)")


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
    """Who asked for what, the newest first: of everybody for the daemon's owner and operators, of
    the caller for others."""
    service: Service = request.app.state.service
    run = None if run is None else await service.named_run(run)
    wanted = AuditFilter(user=user, since=since, call=call, run=run)
    entries = await service.audit.list(who, wanted, limit)
    return answer(AuditPage(entries=tuple(entries)))


class Refusals:
    """Notes in the audit table what is refused, by whichever layer: the answer waits for that."""

    def __init__(self, app: ASGIApp, audit: Callable[[], Audit]) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and look at its answer."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._note(scope)
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)

    async def _note(self, scope: Scope) -> None:
        refusal = scope["state"].pop(REFUSAL, None)
        if refusal is None:
            return
        who, why = refusal
        if "caller" not in scope["state"]:
            await self._audit().refused(who, CONNECT, why, None)
            return
        found = _RUN.match(scope["path"])
        call = call_of(scope["method"], scope["path"])
        await self._audit().refused(who, call, why, found[1] if found else None)


def call_of(method: str, path: str) -> str:
    """The name of a call as in the audit table, of a few whatever is asked for."""
    verb = path.removesuffix("/plan").rsplit("/", 1)[-1]
    if method == "POST" and path in _SUBMITTED:
        return "submit"
    if method == "DELETE":
        return "unkeep" if verb == "keep" else "remove"
    if method == "PUT":
        return "upload"
    return verb if verb in _VERBS else "look" if method in ("GET", "HEAD") else "other"
