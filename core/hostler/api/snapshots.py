"""Routes for packed source trees, named by their SHA-256."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse

from hostler.api.answers import answer, service_of
from hostler.api.described import gives
from hostler.api.peer import caller_of
from hostler.model.calls import Call, Caller
from hostler.model.views.files import StoredSnapshot

router = APIRouter()
Who = Annotated[Caller, Depends(caller_of)]
Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


@router.head("/snapshots/{digest}")
async def has(request: Request, digest: Digest, who: Who) -> Response:
    """200 when the caller's snapshot is here already, 404 when they have to send it."""
    there = await service_of(request).sources.may_use(digest, who.uid)
    return Response(status_code=200 if there else 404)


@router.put("/snapshots/{digest}", responses=gives(StoredSnapshot))
async def put(request: Request, digest: Digest, who: Who) -> JSONResponse:
    """Take a snapshot in; kept only when its bytes have this digest, and are a plain tar."""
    service = service_of(request)
    service.authorize(who, Call.UPLOAD)
    size = await service.sources.take_in(digest, request.stream(), who.uid)
    return answer(StoredSnapshot(digest=digest, size=size))
