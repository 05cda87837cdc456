"""Routes for tokens of the gateway: list, make, revoke; only the answer to a new one has its
text."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from hostler.api.answers import answer, gives, service_of
from hostler.api.bodies import TokenBody
from hostler.api.peer import Who
from hostler.model.calls import Call
from hostler.model.views.tokens import NewToken, RevokedToken, TokenList

router = APIRouter()
Id = Annotated[str, Path(max_length=200)]


@router.get("/tokens", responses=gives(TokenList))
async def listed(request: Request, who: Who) -> JSONResponse:
    """The caller's tokens; all, for operators."""
    service = service_of(request)
    service.authorize(who, Call.LOOK)
    return answer(await service.tokens.list(who))


@router.post("/tokens", responses=gives(NewToken))
async def new(request: Request, body: TokenBody, who: Who) -> JSONResponse:
    """Make a token for services, or for all; it expires after `seconds`."""
    service = service_of(request)
    service.authorize(who, Call.TOKEN_NEW)
    service.context.standing.check_current()
    return answer(await service.tokens.new(who, body.services, body.seconds))


@router.delete("/tokens/{token_id}", responses=gives(RevokedToken))
async def revoke(request: Request, token_id: Id, who: Who) -> JSONResponse:
    """Have the gateway refuse a token from now on, and close its streams."""
    service = service_of(request)
    service.authorize(who, Call.TOKEN_REVOKE)
    return answer(await service.tokens.revoke(who, token_id))
