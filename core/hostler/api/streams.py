"""Streaming routes: events, updates of a run, logs; events per page, and how a slow reader is
treated (nothing is queued, it reads later). Nothing is queued: a slow reader reads later."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from hostler.api.answers import service_of
from hostler.daemon.service import Service
from hostler.model.codec import to_json
from hostler.model.events import Event
from hostler.model.views.runs import RunView

router = APIRouter()

_SHARE = 10
"""A stream pauses ten times as long as one part of it took to make: viewers of a run of thousands
of stages must not slow the daemon."""
_PAGE = 500
_TOO_LARGE = 2**53
"""The first event number that is too large: SQLite would refuse it only after the stream has
begun."""


@router.get("/events")
async def events(
    request: Request,
    after: Annotated[int | None, Query(ge=0, lt=_TOO_LARGE)] = None,
    follow: bool = False,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    host: Annotated[str | None, Query(max_length=200)] = None,
) -> StreamingResponse:
    """Events after a number, else the latest; oldest first, endless with `follow`. `host`: only
    events of that host."""
    service = service_of(request)
    if host is not None and not await service.context.store.events(host=host, limit=1):
        service.host(host)  # one that the config has not and that nothing is known of is refused
    lines = _events(service, after, limit, follow, host)
    return StreamingResponse(lines, media_type="application/jsonl")


@router.get("/runs/{run_id}/events")
async def run_events(
    request: Request,
    run_id: str,
    after: Annotated[int, Query(ge=0, lt=_TOO_LARGE)] = 0,
    follow: bool = False,
) -> StreamingResponse:
    """One run's events and, as it changes, the run itself; ends with the run."""
    service = service_of(request)
    full = await service.meant(run_id)
    lines = _run_events(service, full, after, follow)
    return StreamingResponse(lines, media_type="application/jsonl")


@router.get("/runs/{run_id}/logs/{stage}")
async def logs(
    request: Request,
    run_id: str,
    stage: str,
    attempt: Annotated[int | None, Query(ge=1)] = None,
    offset: Annotated[int, Query(ge=0)] = 0,
    tail: Annotated[int | None, Query(ge=0)] = None,
    length: Annotated[int | None, Query(ge=0)] = None,
    follow: bool = False,
) -> StreamingResponse:
    """The output of an attempt as raw bytes; with `follow` until the attempt has ended."""
    log = await service_of(request).open_log(run_id, stage, attempt)
    begin, size = offset, log.size
    if tail is not None:
        begin = await log.begin_of_tail(tail)
    headers = {
        "X-Hostler-Attempt": log.attempt.attempt_id,
        "X-Hostler-Size": str(size),
        "X-Hostler-Offset": str(begin),
    }
    if follow and length != 0:
        pages = log.follow(begin, length)
    else:
        end = size if length is None else min(size, begin + length)
        headers["Content-Length"] = str(max(0, end - begin))
        pages = log.pages(begin, end)
    return StreamingResponse(pages, media_type="application/octet-stream", headers=headers)


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _event_lines(events: Sequence[Event]) -> bytes:
    """All events in one piece: to send each alone takes longer than to make it, here and in the
    client."""
    return b"".join(_line({"event": to_json(event)}) for event in events)


async def _events(
    service: Service, after: int | None, limit: int, follow: bool, host: str | None
) -> AsyncIterator[bytes]:
    hub, store = service.context.hub, service.context.store
    after = await store.seq_before_last(limit, host) if after is None else after
    while True:
        seen = hub.version
        found = await store.events(after, limit=min(limit, _PAGE), host=host)
        if found:
            after = found[-1].seq
            limit -= 0 if follow else len(found)
            yield _event_lines(found)
        if len(found) >= _PAGE and limit > 0:
            continue
        if not follow or hub.is_closed or limit <= 0:
            return
        if await hub.wait(seen, service.context.timings.api.stream_alive) == seen:
            yield b"{}\n"


async def _run_events(
    service: Service, run_id: str, after: int, follow: bool
) -> AsyncIterator[bytes]:
    hub, store = service.context.hub, service.context.store
    shown: RunView | None = None
    while True:
        seen = hub.version
        begun = time.perf_counter()
        run = service.context.run_cache.find(run_id) or await store.get_run(run_id)
        found = await store.events(after, run_id=run_id, limit=_PAGE)
        lines = _event_lines(found)
        after = found[-1].seq if found else after
        view = service.view(run)
        if view != shown:
            shown = view
            lines += _line({"run": to_json(view)})
        if lines:
            yield lines
        cost = time.perf_counter() - begun
        if len(found) >= _PAGE:
            continue
        if run.outcome is not None or not follow or hub.is_closed:
            return
        if await hub.wait(seen, service.context.timings.api.stream_alive) == seen:
            yield b"{}\n"
        else:
            await asyncio.sleep(max(service.context.timings.api.stream_rest, _SHARE * cost))
