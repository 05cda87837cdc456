"""The calls of a session that BuildKit may make (files, logins, secrets, health), with the parts of
HTTP/2 and gRPC that it uses, and limits."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from hostler.model.images import registry_of_host
from hostler.ports import ByteStream
from hostler.runtimes.docker.context import Piece
from hostler.runtimes.docker.file_sync import BadRequest, FileSender, followed
from hostler.runtimes.docker.logins import Login
from hostler.runtimes.docker.protobuf import BadMessage, text, written

HEALTH = "/grpc.health.v1.Health/Check"
NAMED_VALUE = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
LOGIN = "/moby.filesync.v1.Auth/Credentials"
FILES = "/moby.filesync.v1.FileSync/DiffCopy"
METHODS = (HEALTH, NAMED_VALUE, LOGIN, FILES)
_SERVING = b"\x08\x01"
_OK, _INVALID, _NOT_FOUND, _UNIMPLEMENTED = "0", "3", "5", "12"
_REQUEST_CAP = 64 * 1024
"""Most bytes of one call that has one answer."""
_MOST_CALLS = 64
_MOST_WALKS = 32
"""Most times that one session may start to send files, which takes a while; BuildKit needs a
few."""
_DIR_NAME = b"dir-name"
_INCLUDED, _FOLLOWED = b"include-patterns", b"followpaths"
_ENCODED = b"followpaths-encoded"
CONTEXT, DOCKERFILE = "context", "dockerfile"
"""BuildKit's names for the files of the build, and for the Dockerfile alone."""

_Answer = tuple[str, bytes | None]
"""Status, and the message if there is one."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Everything that one build may request."""

    secrets: Mapping[str, bytes] = field(default_factory=dict)
    logins: Mapping[str, Login] = field(default_factory=dict)
    """Registry -> login."""
    files: Mapping[str, Sequence[Piece]] = field(default_factory=dict)
    """The files for `CONTEXT` and `DOCKERFILE`."""
    told: Callable[[int], None] = lambda _count: None
    """Called with the number of sent bytes of files."""


class Calls:
    """Answers the calls of one session."""

    def __init__(self, stream: ByteStream, offer: Offer) -> None:
        self._stream, self._offer = stream, offer
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self._http = h2.connection.H2Connection(config)
        self._bodies: dict[int, bytearray] = {}
        self._methods: dict[int, str] = {}
        self._senders: dict[int, FileSender] = {}
        self._walks = 0
        self._answers: dict[int, tuple[str, bytearray]] = {}
        """Status, and the unsent part of the message: files may fill the connection's window."""

    async def serve(self) -> None:
        """Answer calls until the connection ends. Raises InputError, StateError if files cannot be
        read."""
        self._http.initiate_connection()
        while True:
            await self._stream.write(self._http.data_to_send())
            data = await self._stream.read()
            if not data:
                return
            try:
                for event in self._http.receive_data(data):
                    self._take(event)
                self._send_answers()
                for number in tuple(self._senders):
                    await self._send_files(number)
            except h2.exceptions.ProtocolError:
                return

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._begin(event)
        elif isinstance(event, h2.events.DataReceived):
            self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self._feed(event.stream_id, event.data)
        elif isinstance(event, h2.events.StreamReset):
            self._drop(event.stream_id)
        if isinstance(event, h2.events.StreamEnded) and event.stream_id in self._methods:
            self._answer(event.stream_id)

    def _begin(self, event: h2.events.RequestReceived) -> None:
        number = event.stream_id
        if len(self._methods) + len(self._senders) + len(self._answers) >= _MOST_CALLS:
            self._http.reset_stream(number, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        said: dict[bytes, list[bytes]] = {}
        for key, value in event.headers:
            said.setdefault(key, []).append(value)
        method = said.get(b":path", [b""])[0].decode("latin-1")
        may_walk = method == FILES and self._walks < _MOST_WALKS
        files = self._files(said) if may_walk else None
        if files is not None:
            self._walks += 1
            self._send_head(number)
            self._senders[number] = FileSender(files, self._offer.told)
        else:
            self._methods[number], self._bodies[number] = method, bytearray()

    def _files(self, said: Mapping[bytes, list[bytes]]) -> Sequence[Piece] | None:
        """The requested files; None: the session does not have them."""
        name = said.get(_DIR_NAME, [b""])[0].decode("latin-1")
        files = self._offer.files.get(name)
        if files is None or name != CONTEXT:
            return files
        if _INCLUDED in said:
            return ()  # it requests `.dockerignore`, which was applied already
        return files if _ENCODED in said else followed(files, said.get(_FOLLOWED, ()))

    def _feed(self, number: int, data: bytes) -> None:
        body, sender = self._bodies.get(number), self._senders.get(number)
        if body is not None:
            body += data[: _REQUEST_CAP - len(body)]
        elif sender is not None:
            try:
                sender.feed(data)
            except BadRequest:
                self._finish(number, _INVALID)

    def _drop(self, number: int) -> tuple[str, bytes]:
        self._senders.pop(number, None)
        self._answers.pop(number, None)
        return self._methods.pop(number, ""), bytes(self._bodies.pop(number, b""))

    async def _send_files(self, number: int) -> None:
        """Send as many bytes as the other side accepts now."""
        sender = self._senders[number]
        while (room := self._room(number)) > 0:
            data = await sender.take(room)
            if not data:
                break
            self._http.send_data(number, data)
            await self._stream.write(self._http.data_to_send())
        if sender.is_over:
            self._finish(number, _OK)

    def _room(self, number: int) -> int:
        return min(self._http.local_flow_control_window(number), self._http.max_outbound_frame_size)

    def _answer(self, number: int) -> None:
        status, message = self._result(*self._drop(number))
        self._send_head(number)
        framed = b"" if message is None else struct.pack(">BI", 0, len(message)) + message
        self._answers[number] = status, bytearray(framed)

    def _send_answers(self) -> None:
        """Send as many bytes as the other side accepts now."""
        for number, (status, left) in tuple(self._answers.items()):
            while left and (room := self._room(number)) > 0:
                self._http.send_data(number, bytes(left[:room]))
                del left[:room]
            if not left:
                del self._answers[number]
                self._finish(number, status)

    def _send_head(self, number: int) -> None:
        self._http.send_headers(number, [(":status", "200"), ("content-type", "application/grpc")])

    def _finish(self, number: int, status: str) -> None:
        self._senders.pop(number, None)
        self._http.send_headers(number, [("grpc-status", status)], end_stream=True)

    def _result(self, method: str, body: bytes) -> _Answer:
        if method == HEALTH:
            return _OK, _SERVING
        try:
            asked = text(body[5:], 1)
        except BadMessage:
            return _INVALID, None
        if method == NAMED_VALUE:
            value = self._offer.secrets.get(asked)
            return (_NOT_FOUND, None) if value is None else (_OK, written(1, value))
        if method == LOGIN:
            return _OK, self._login(asked)
        return _UNIMPLEMENTED, None

    def _login(self, host: str) -> bytes:
        """The login for a registry; an empty one is valid, since the registry may need none."""
        login = self._offer.logins.get(registry_of_host(host))
        if login is None:
            return b""
        name = written(1, login.username.encode()) if login.username else b""
        return name + written(2, login.password.reveal().encode())
