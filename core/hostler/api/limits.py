"""How much a request may send. Snapshots are streamed to disk and have a limit of their own."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hostler.units import MIB, format_size

MAX_BODY = 16 * MIB
_STREAMED = "/v1/snapshots/"


class BodyLimit:
    """Stops reading a body that is kept in memory once it is over `MAX_BODY` bytes: status 413."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting what it sends."""
        if scope["type"] != "http" or scope["path"].startswith(_STREAMED):
            await self._app(scope, receive, send)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY:
                raise HTTPException(413, f"the request is larger than {format_size(MAX_BODY)}")
            return message

        await self._app(scope, counted, send)
