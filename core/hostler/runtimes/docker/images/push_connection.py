"""One HTTP connection of a push: reads requests and sends answers. Closes a connection without the
password after 10 seconds, an idle one after 120."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import h11

from hostler.base.errors import Unreachable
from hostler.ports import ByteStream
from hostler.runtimes.docker.images.push_calls import read_call
from hostler.runtimes.docker.images.receiver import Answer, Receiver

_READ = 256 * 1024
_MOST_HEAD = 16 * 1024
_LOGIN_WITHIN = 10.0
"""Seconds after which a connection without the password is closed, even if it sends other data."""
_IDLE = 120.0
_UNAUTHORISED = Answer(
    401, (("WWW-Authenticate", 'Basic realm="hostler"'),), "this push needs its password"
)


class PushConnection:
    """Serves one connection until its end."""

    def __init__(
        self, stream: ByteStream, receiver: Receiver, login_within: float = _LOGIN_WITHIN
    ) -> None:
        self._stream, self._receiver = stream, receiver
        self.is_authorised = False
        """Whether it has sent the password."""
        self._until_login = asyncio.timeout(login_within)
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEAD)

    async def serve(self) -> None:
        """Answer requests until one is not HTTP, or until the other side closes the connection or
        sends nothing."""
        try:
            async with self._until_login:
                while await self._one():
                    self._http.start_next_cycle()
        except h11.RemoteProtocolError:
            await self._say_no()
        except (h11.LocalProtocolError, Unreachable, TimeoutError):
            pass
        finally:
            await self._stream.close()

    async def _say_no(self) -> None:
        """Answer data that is not HTTP: Docker tries TLS first, and continues without it after a
        plain HTTP answer."""
        with contextlib.suppress(Unreachable):
            await self._stream.write(b"HTTP/1.0 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async def _one(self) -> bool:
        """Answer a request; returns whether another one may follow."""
        request = await self._next()
        if not isinstance(request, h11.Request):
            return False
        headers = {name.lower(): value for name, value in request.headers}
        authorization = headers.get(b"authorization", b"").decode("latin-1")
        if not self._receiver.may_push(authorization):
            await self._send(_UNAUTHORISED, request.method == b"HEAD")
            return self._at_end()
        self._until_login.reschedule(None)
        self.is_authorised = True
        method, target = request.method.decode("ascii"), request.target.decode("ascii")
        call = read_call(method, target, self._receiver.repository)
        answer = await self._receiver.answer(call, self._body())
        await self._send(answer, request.method == b"HEAD")
        return self._at_end()

    def _at_end(self) -> bool:
        """Whether the request was read to its end. The rest of a refused body is not read; the
        connection is closed instead."""
        if self._http.their_state is h11.SEND_BODY:
            self._http.next_event()  # the end event, if the body is complete
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _body(self) -> AsyncIterator[bytes]:
        if self._http.they_are_waiting_for_100_continue:
            proceed = h11.InformationalResponse(status_code=100, headers=[])
            await self._stream.write(self._http.send(proceed) or b"")
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)

    async def _next(self) -> h11.Event | None:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Event):
                return event
            if event is h11.PAUSED:
                return None
            async with asyncio.timeout(_IDLE):
                self._http.receive_data(await self._stream.read(_READ))

    async def _send(self, answer: Answer, is_head: bool) -> None:
        body = _error_body(answer) if answer.error else b""
        sized = any(name == "Content-Length" for name, _ in answer.headers)
        headers = [
            ("Docker-Distribution-Api-Version", "registry/2.0"),
            *answer.headers,
            *([] if sized else [("Content-Length", str(len(body)))]),
        ]
        data = self._http.send(h11.Response(status_code=answer.status, headers=headers)) or b""
        if body and not is_head:
            data += self._http.send(h11.Data(data=body)) or b""
        await self._stream.write(data + (self._http.send(h11.EndOfMessage()) or b""))


def _error_body(answer: Answer) -> bytes:
    codes = {401: "UNAUTHORIZED", 405: "UNSUPPORTED", 429: "TOOMANYREQUESTS"}
    code = codes.get(answer.status, "MANIFEST_INVALID")
    return json.dumps({"errors": [{"code": code, "message": answer.error}]}).encode()
