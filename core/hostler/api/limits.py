"""Limits of requests: bytes of a body (of one, of a user, of all), values in JSON, and
simultaneous requests, downloads and file lists per user. Snapshots are streamed to disk and have
a limit of their own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hostler.api.answers import REFUSAL, refusal
from hostler.base.units import KIB, MIB, format_size
from hostler.daemon.turns import Turns
from hostler.model.calls import Caller

MAX_BODY = 16 * MIB
OF_ONE_USER = 32 * MIB
OF_ALL = 96 * MIB
FREE = 64 * KIB
"""Bytes of each body that are not counted: small requests pass however much others send.
Connections are counted (see `connection_limits`)."""
MAX_VALUES = 250_000
"""Most values in a body: objects of two bytes take hundreds of times their size in memory."""
AT_ONCE = 4
"""Requests of a user that the daemon handles at a time."""
_STREAMED = "/v1/snapshots/"
_STREAM = re.compile(r"/v1/(?:events|runs/[^/]+/(?:events|logs/[^/]+))")
"""No stage's name can make another path match this."""
_FILE = re.compile(r"/v1/runs/[^/]+/files/[^/]+/content")
FILES_AT_ONCE = 4
"""Files sent to a user at a time: each holds some memory, and the reader may be slow."""
_LIST = re.compile(r"/v1/runs/[^/]+/(?:files|ls/[^/]+)")
LISTS_AT_ONCE = 2
"""Lists of files for a user at a time: a host may take long to make one."""
_WITH_BODY = ("POST", "PUT", "PATCH")
_TOKEN = re.compile(rb'"[^"]*+"?|[,\[{]')
"""A token of JSON without escapes. A string that is not closed is one, too: a search for the end of
each quote in it would take forever."""


class _Over(Exception):
    """The body is too large: status and message."""


class Fair:
    """Handles a few requests of a user at a time: some take a second of the daemon's time, and two
    hundred connections may send one each."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turns = Turns(AT_ONCE)
        self._file_turns = Turns(FILES_AT_ONCE)
        self._list_turns = Turns(LISTS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on in its turn; long requests take no turn, or one of a separate kind."""
        if scope["type"] != "http" or goes_on(scope["path"]):
            await self._app(scope, receive, send)
            return
        caller: Caller = scope["state"]["caller"]
        async with self._turns_for(scope["path"]).of(caller.uid):
            await self._app(scope, receive, send)

    def _turns_for(self, path: str) -> Turns:
        if is_file(path):
            return self._file_turns
        return self._list_turns if _LIST.fullmatch(path) else self._turns


def goes_on(path: str) -> bool:
    """Whether a request may take as long as it likes: a stream, or an upload."""
    return path.startswith(_STREAMED) or is_stream(path)


def is_file(path: str) -> bool:
    """Whether an answer is one file, which may be large. It has an end: a client that reads no data
    is dropped like others, and continues with a range."""
    return _FILE.fullmatch(path) is not None


def is_stream(path: str) -> bool:
    """Whether an answer may have no end."""
    return _STREAM.fullmatch(path) is not None


class BodyLimit:
    """Reads a body that is kept in memory before any other code sees it, and refuses it as soon as
    it is too large: status 413, or 429 if it is too large only for now.

    Each user's large bodies are handled one at a time: a parsed body takes much more memory.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._held: Counter[int] = Counter()
        self._turns = Turns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its whole body, or answer it."""
        if not _keeps_body(scope):
            await self._app(scope, receive, send)
            return
        caller: Caller = scope["state"]["caller"]
        try:
            with self._counting(caller.uid) as held:
                body = await _read(receive, held)
                if body is None:
                    return  # it went away
                async with self._turn(caller.uid, len(body)):
                    await self._app(scope, _replay(body, receive), send)
        except _Over as over:
            status, message, remedy = over.args
            if status != 400:
                scope["state"][REFUSAL] = (caller, message)
            answer = refusal(status, message, remedy)
            answer.headers["connection"] = "close"
            await answer(scope, receive, send)

    @contextmanager
    def _counting(self, uid: int) -> Iterator[_Hold]:
        held = _Hold(self._held, uid)
        try:
            yield held
        finally:
            held.give_back()

    def _turn(self, uid: int, size: int) -> AbstractAsyncContextManager[None]:
        return nullcontext() if size <= FREE else self._turns.of(uid)


class _Hold:
    """The bytes that one request holds of the limits."""

    def __init__(self, held: Counter[int], uid: int) -> None:
        self._held = held
        self._uid = uid
        self._size = 0
        self._counted = 0

    def add(self, size: int) -> None:
        """Count received bytes. Raises _Over."""
        self._size += size
        if self._size > MAX_BODY:
            raise _Over(413, f"the request is larger than {format_size(MAX_BODY)}", "")
        more = max(0, self._size - FREE) - self._counted
        self._counted += more
        self._held[self._uid] += more
        if more and (self._held[self._uid] > OF_ONE_USER or self._held.total() > OF_ALL):
            raise _Over(429, "the daemon is receiving too much data", "retry in a few seconds")

    def give_back(self) -> None:
        """Release all bytes of the request."""
        self._held[self._uid] -= self._counted
        if self._held[self._uid] <= 0:
            del self._held[self._uid]


def _keeps_body(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["path"].startswith(_STREAMED):
        return False
    return scope["method"] in _WITH_BODY


async def _read(receive: Receive, held: _Hold) -> bytes | None:
    """The whole body; None if the caller disconnected. Raises _Over."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part = message.get("body", b"")
        held.add(len(part))
        body += part
        if not message.get("more_body", False):
            break
    if len(body) > FREE and b"\0" in body:  # no UTF-8 in which quotes and commas can be counted
        raise _Over(400, "the request is not in UTF-8", "Send JSON in UTF-8")
    if len(body) > FREE and has_too_many_values(body):
        raise _Over(413, f"the request has more than {MAX_VALUES:,} values", "")
    return bytes(body)


def has_too_many_values(body: bytes | bytearray) -> bool:
    """Whether JSON has more values than allowed; stops counting at the limit."""
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    return any(number >= MAX_VALUES * 2 for number, _ in enumerate(_TOKEN.finditer(plain)))


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
