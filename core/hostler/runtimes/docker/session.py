"""A session of a build by BuildKit: dockerd asks back, over HTTP/2, for what the build needs.

The connection is turned round: dockerd is the client. It may ask whether the session lives, and for
secrets by name; all else is refused. Nothing of the daemon's machine can be asked for.
"""

from __future__ import annotations

import asyncio
import struct
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from hostler.base.errors import EngineError, Unreachable
from hostler.ports import ByteStream, HostLink
from hostler.runtimes.docker.protobuf import BadMessage, text, written

HEALTH = "/grpc.health.v1.Health/Check"
GET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
_SERVING = b"\x08\x01"
_OK, _INVALID, _NOT_FOUND, _UNIMPLEMENTED = "0", "3", "5", "12"
_HEAD_CAP = 64 * 1024
_REQUEST_CAP = 64 * 1024
"""Bytes of one call, and of all that are under way."""
_MOST_CALLS = 64


@asynccontextmanager
async def session(link: HostLink, secrets: Mapping[str, bytes] | None = None) -> AsyncIterator[str]:
    """The id of a session that is served until the end of the block."""
    name = uuid.uuid4().hex
    stream = await link.open_docker()
    try:
        await _turn_round(link.host, stream, name)
        serving = asyncio.ensure_future(Calls(stream, secrets or {}).serve())
        try:
            yield name
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
    finally:
        await stream.close()


async def _turn_round(host: str, stream: ByteStream, name: str) -> None:
    lines = [
        "POST /session HTTP/1.1", "Host: docker", "Connection: Upgrade", "Upgrade: h2c",
        f"X-Docker-Expose-Session-Uuid: {name}", "X-Docker-Expose-Session-Name: hostler",
        *(f"X-Docker-Expose-Session-Grpc-Method: {method}" for method in (HEALTH, GET)),
    ]  # fmt: skip
    await stream.write("\r\n".join((*lines, "", "")).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # One byte at a time: what follows belongs to HTTP/2 already.
        data = await stream.read(1)
        if not data:
            raise Unreachable(host, "Docker closed the connection without an answer")
        head += data
        if len(head) > _HEAD_CAP:
            raise EngineError(host, "Docker's answer is not HTTP")
    if not head.startswith((b"HTTP/1.1 101", b"HTTP/1.0 101")):
        said = head.split(b"\r\n", 1)[0].decode("utf-8", "replace")
        raise EngineError(host, f"Docker opens no session for a build: {said}")


class Calls:
    """Answers the calls of one session."""

    def __init__(self, stream: ByteStream, secrets: Mapping[str, bytes]) -> None:
        self._stream, self._secrets = stream, secrets
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self._http = h2.connection.H2Connection(config)
        self._bodies: dict[int, bytearray] = {}
        self._methods: dict[int, str] = {}

    async def serve(self) -> None:
        """Until the connection ends."""
        self._http.initiate_connection()
        while True:
            await self._stream.write(self._http.data_to_send())
            data = await self._stream.read()
            if not data:
                return
            try:
                for event in self._http.receive_data(data):
                    self._take(event)
            except h2.exceptions.ProtocolError:
                return

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            if len(self._methods) >= _MOST_CALLS:
                self._http.reset_stream(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
                return
            path = next((value for key, value in event.headers if key == b":path"), b"")
            self._methods[event.stream_id] = path.decode("latin-1")
            self._bodies[event.stream_id] = bytearray()
        elif isinstance(event, h2.events.DataReceived):
            self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            body = self._bodies.get(event.stream_id)
            if body is not None:
                body += event.data[: _REQUEST_CAP - len(body)]
        elif isinstance(event, h2.events.StreamReset):
            self._drop(event.stream_id)
        if isinstance(event, h2.events.StreamEnded):
            self._answer(event.stream_id)

    def _drop(self, stream: int) -> tuple[str, bytes]:
        return self._methods.pop(stream, ""), bytes(self._bodies.pop(stream, b""))

    def _answer(self, stream: int) -> None:
        status, message = self._result(*self._drop(stream))
        self._http.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        if message is not None:
            self._http.send_data(stream, struct.pack(">BI", 0, len(message)) + message)
        self._http.send_headers(stream, [("grpc-status", status)], end_stream=True)

    def _result(self, method: str, body: bytes) -> tuple[str, bytes | None]:
        if method == HEALTH:
            return _OK, _SERVING
        if method != GET:
            return _UNIMPLEMENTED, None
        try:
            value = self._secrets.get(text(body[5:], 1))
        except BadMessage:
            return _INVALID, None
        return (_NOT_FOUND, None) if value is None else (_OK, written(1, value))
