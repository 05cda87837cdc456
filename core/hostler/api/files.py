"""Routes about files: upload of source snapshots, listing and download of a run's files by its
owner, and notes that files were fetched."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from hostler.api.answers import answer, gives, service_of
from hostler.api.bodies import FetchedBody
from hostler.api.peer import Who
from hostler.api.ranges import Part, part_of
from hostler.base.errors import HostlerError
from hostler.daemon.file_readers import FileReader
from hostler.model.calls import Call
from hostler.model.codec import to_json, view_of
from hostler.model.views.files import FilesPage, FolderView, Noted, StoredSnapshot

router = APIRouter()
_log = logging.getLogger("hostler.api")
_MOST = 2**53
Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


class _AnyNames(Response):
    """JSON in ASCII: a file's name may be bytes that are not valid UTF-8."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """The body."""
        return json.dumps(content, separators=(",", ":")).encode("ascii")


class _FileResponse(StreamingResponse):
    """A file that is closed at the end, also after an error."""

    def __init__(
        self, reader: FileReader, pages: AsyncIterator[bytes], status: int, headers: dict[str, str]
    ) -> None:
        super().__init__(pages, status, headers, media_type="application/octet-stream")
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. If it cannot be read to its end, the connection is closed early, which shows the
        error to the client."""
        try:
            await super().__call__(scope, receive, send)
        except* HostlerError as errors:
            _log.info("a file was not sent completely: %s", errors.exceptions[0])
        finally:
            await self._reader.close()


@router.get("/runs/{run_id}/files", responses=gives(FilesPage))
async def files(
    request: Request,
    run_id: str,
    who: Who,
    stage: Annotated[str | None, Query(max_length=300)] = None,
    after: Annotated[int, Query(ge=0, lt=_MOST)] = 0,
) -> Response:
    """The files of a run that can be fetched, a page at a time."""
    service = service_of(request)
    page = await service.files.page(await service.own_run(run_id, who), stage, after)
    return _AnyNames(to_json(view_of(FilesPage, page)))


@router.get("/runs/{run_id}/ls/{stage}", responses=gives(FolderView))
async def list_folder(
    request: Request, run_id: str, stage: str, who: Who, path: str = ""
) -> Response:
    """The content of a folder of a stage; if the stage runs, as it is now."""
    service = service_of(request)
    run = await service.own_run(run_id, who)
    view = await service.files.folder(run, stage, _raw(request, "path") or "")
    return _AnyNames(to_json(view))


@router.get("/runs/{run_id}/files/{stage}/content")
async def content(
    request: Request,
    run_id: str,
    stage: str,
    who: Who,
    path: Annotated[str, Query(min_length=1)],
    artifact: Annotated[str | None, Query(max_length=300)] = None,
    attempt: Annotated[int | None, Query(ge=1, lt=_MOST)] = None,
    digest: bool = False,
) -> Response:
    """The bytes of one file, or a range of them; with `digest` followed by the SHA-256 of the whole
    file in 64 hex digits."""
    service = service_of(request)
    run = await service.own_run(run_id, who)
    wanted = _raw(request, "path") or path
    reader = await service.files.open(run, stage, wanted, artifact, attempt)
    wishes = request.headers.get("range"), request.headers.get("if-range")
    part = part_of(reader.size, reader.etag, *wishes, at_end=digest)
    headers = {"ETag": reader.etag, "Accept-Ranges": "bytes", "X-Hostler-Where": reader.where.value}
    if part is None:
        await reader.close()
        return Response(status_code=416, headers={"Content-Range": f"bytes */{reader.size}"})
    if not part.is_whole:
        headers["Content-Range"] = f"bytes {part.begin}-{part.end - 1}/{reader.size}"
    tells = digest and part.end == reader.size
    headers["Content-Length"] = str(part.end - part.begin + (64 if tells else 0))
    pages = _pages(reader, part, tells)
    return _FileResponse(reader, pages, 200 if part.is_whole else 206, headers)


async def _pages(reader: FileReader, part: Part, tells: bool) -> AsyncIterator[bytes]:
    async for page in reader.pages(part.begin, part.end):
        yield page
    if tells:
        yield (reader.sha256 or "").encode("ascii")


@router.post("/runs/{run_id}/files/{stage}/fetched", responses=gives(Noted))
async def fetched(
    request: Request, run_id: str, stage: str, body: FetchedBody, who: Who
) -> JSONResponse:
    """Note that a user has fetched all files of an artifact, or all files on the host: these are
    removed first."""
    service = service_of(request)
    run = await service.own_run(run_id, who)
    await service.files.note_fetched(run, stage, body.attempt_id, body.artifact)
    return answer(Noted())


def _raw(request: Request, name: str) -> str | None:
    """A query parameter that may not be valid UTF-8, decoded as Python decodes file names."""
    query = request.scope["query_string"].decode("latin-1")
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    return dict(pairs).get(name)


@router.head("/snapshots/{digest}")
async def has(request: Request, digest: Digest, who: Who) -> Response:
    """200 if the daemon has the caller's snapshot, 404 if the caller has to send it."""
    there = await service_of(request).sources.may_use(digest, who.uid)
    return Response(status_code=200 if there else 404)


@router.put("/snapshots/{digest}", responses=gives(StoredSnapshot))
async def put(request: Request, digest: Digest, who: Who) -> JSONResponse:
    """Receive a snapshot; kept only if its bytes have this digest and are a plain tar."""
    service = service_of(request)
    service.authorize(who, Call.UPLOAD)
    size = await service.sources.take_in(digest, request.stream(), who.uid)
    return answer(StoredSnapshot(digest=digest, size=size))
