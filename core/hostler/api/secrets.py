"""Routes for the secrets of the caller: list names, set a value, remove; no answer has a value;
base/secret_rules.py has the largest size."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from hostler.api.answers import answer, gives, service_of
from hostler.api.peer import Who
from hostler.base.errors import InputError
from hostler.base.json_types import JsonTable
from hostler.base.secret import Secret
from hostler.base.secret_rules import MAX_VALUE
from hostler.model.calls import Call
from hostler.model.views.secrets import RemovedSecret, SecretList, StoredSecret

router = APIRouter()
Name = Annotated[str, Path(max_length=200)]
_BYTES: JsonTable = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/secrets", responses=gives(SecretList))
async def names(request: Request, who: Who) -> JSONResponse:
    """The names of the caller's secrets, since when they are set, and which open runs use them."""
    service = service_of(request)
    service.authorize(who, Call.LOOK)
    return answer(await service.context.secrets.names(who))


@router.put("/secrets/{name}", responses=gives(StoredSecret), openapi_extra=_BYTES)
async def put(request: Request, name: Name, who: Who) -> JSONResponse:
    """Set a secret: the body is its value, in UTF-8, byte by byte."""
    service = service_of(request)
    service.authorize(who, Call.SECRET_SET)
    service.context.standing.check_current()
    await service.context.secrets.put(who, name, _value(await request.body()))
    return answer(StoredSecret(name=name))


@router.delete("/secrets/{name}", responses=gives(RemovedSecret))
async def remove(request: Request, name: Name, who: Who) -> JSONResponse:
    """Remove a secret."""
    service = service_of(request)
    service.authorize(who, Call.SECRET_REMOVE)
    await service.context.secrets.remove(who, name)
    return answer(RemovedSecret(removed=name))


def _value(body: bytes) -> Secret:
    if len(body) > MAX_VALUE:
        raise InputError(f"the value has {len(body):,} bytes, more than {MAX_VALUE:,}")
    try:
        return Secret(body.decode())
    except UnicodeDecodeError:
        raise InputError(
            "the value is not UTF-8",
            remedy="Encode bytes as text: base64 FILE | hostler secret set NAME",
        ) from None
