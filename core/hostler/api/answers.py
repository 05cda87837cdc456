"""Turns values and errors into HTTP answers: the status code of each kind of error, the error
body and how many problems it has, and the OpenAPI page."""

from __future__ import annotations

import logging
import math
from typing import Literal, TypedDict

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from hostler.base.errors import (
    ConflictError,
    ForbiddenError,
    HostError,
    HostlerError,
    InputError,
    NotFoundError,
    Problem,
    StateError,
)
from hostler.base.json_types import Json, JsonTable
from hostler.base.text import clean_line
from hostler.daemon.service import Service
from hostler.model.codec import to_json

REFUSAL = "refusal"
"""In the state of a request: who was refused, and why, for the audit table."""
_log = logging.getLogger("hostler.api")
_STATUSES: tuple[tuple[type[HostlerError], int], ...] = (
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (InputError, 400),
    (StateError, 503),
    (HostError, 502),
    (HostlerError, 500),
)
_MOST_PROBLEMS = 50
_ALL_CALLS = "see GET /openapi.json"
_NO_SLASH = f"a name in a path is not empty and has no / in it; {_ALL_CALLS}"
_REF = "#/components/schemas/{model}"
_Mode = Literal["validation", "serialization"]
_views: set[type] = set()


def service_of(request: Request) -> Service:
    """The daemon's service object, which every route calls."""
    service: Service = request.app.state.service
    return service


class _Json(JSONResponse):
    """JSON has no NaN and no infinity, which metrics may be: they become null."""

    def render(self, content: Json) -> bytes:
        """The body; searched for such numbers only if it has one."""
        try:
            return super().render(content)
        except ValueError:
            return super().render(_finite(content))


def _finite(value: Json) -> Json:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def answer(value: object, status: int = 200) -> JSONResponse:
    """A model value as JSON."""
    return _Json(to_json(value), status_code=status)


def error_answer(error: HostlerError) -> JSONResponse:
    """An error as the API's error object, with the status of its kind."""
    status = next(code for kind, code in _STATUSES if isinstance(error, kind))
    return JSONResponse({"error": error.to_json()}, status_code=status)


def refusal(status: int, message: str, remedy: str) -> JSONResponse:
    """An error object with this status."""
    error = InputError(message, remedy=remedy or _ALL_CALLS)
    return JSONResponse({"error": error.to_json()}, status_code=status)


def install_error_handlers(app: FastAPI) -> None:
    """Send every error as the API's error object, never as a page or a traceback."""

    async def on_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HostlerError)
        if isinstance(error, ForbiddenError):
            request.scope["state"][REFUSAL] = (request.state.caller, error.message)
        return error_answer(error)

    async def on_invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        found = error.errors()
        problems = [_problem(item) for item in found[:_MOST_PROBLEMS]]
        if len(found) > _MOST_PROBLEMS:
            problems.append(Problem("", f"and {len(found) - _MOST_PROBLEMS} more"))
        said = f": {problems[0]}" if len(problems) == 1 else ""
        remedy = "Correct that; docs/protocol.md describes requests"
        return error_answer(
            InputError(f"the request is not valid{said}", problems=problems, remedy=remedy)
        )

    async def on_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        body = {"kind": "InputError", "message": str(error.detail), "remedy": _ALL_CALLS}
        if error.status_code == 404:
            said = f"there is nothing at {request.scope['path']}"
            body |= {"kind": "NotFoundError", "message": said, "remedy": _NO_SLASH}
        return JSONResponse({"error": body}, status_code=error.status_code, headers=error.headers)

    async def on_gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=400)  # which nobody reads: it is no bug that somebody went

    async def on_bug(request: Request, error: Exception) -> JSONResponse:
        path = clean_line(request.scope["path"], 200)
        _log.error("%s %s failed", request.method, path, exc_info=error)
        return error_answer(
            HostlerError(
                f"the daemon failed on this request ({type(error).__name__})",
                remedy="this is a bug in Hostler; the daemon's log has the details",
            )
        )

    app.add_exception_handler(HostlerError, on_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(ClientDisconnect, on_gone)
    app.add_exception_handler(Exception, on_bug)


class _Misfit(TypedDict):
    """One thing that pydantic found wrong with a request."""

    loc: tuple[str | int, ...]
    msg: str


def _problem(item: _Misfit) -> Problem:
    path = ".".join(str(part) for part in item["loc"] if part not in ("body", "query", "path"))
    said = str(item["msg"])
    return Problem(path, said[:1].lower() + said[1:])


def gives(view: type, status: int = 200) -> dict[int | str, JsonTable]:
    """For `responses` of a route: it answers with this view."""
    _views.add(view)
    content: JsonTable = {
        "application/json": {"schema": {"$ref": _REF.format(model=view.__name__)}}
    }
    return {status: {"description": "Successful Response", "content": content}}


class DescribedApi(FastAPI):
    """An application whose OpenAPI page has the schemas of the views."""

    def openapi(self) -> JsonTable:
        """The page, made once."""
        is_new = self.openapi_schema is None
        page = super().openapi()
        if is_new:
            schemas = page["components"]["schemas"]
            asked: list[tuple[type, _Mode, TypeAdapter[object]]] = [
                (view, "serialization", TypeAdapter(view)) for view in _views
            ]
            made = TypeAdapter.json_schemas(asked, ref_template=_REF)[1]["$defs"]
            page["components"]["schemas"] = dict(sorted({**schemas, **made}.items()))
        return page
