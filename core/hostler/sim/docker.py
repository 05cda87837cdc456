"""As much of Docker's HTTP as Hostler speaks itself: one file of a container as a tar."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from hostler.errors import AgentError, EngineError, Unreachable
from hostler.sim.host import SimHost

_WORK = "/work/"


class SimDocker:
    """A `ByteStream` that answers one `GET /containers/REF/archive?path=/work/...`."""

    def __init__(self, host: SimHost) -> None:
        self._host = host
        self._asked = bytearray()
        self._answer = b""

    async def write(self, data: bytes) -> None:
        """Take a part of the request in. Raises Unreachable while the host is cut off."""
        if self._host.trouble.cut_since is not None:
            raise Unreachable(self._host.name, "no route to host")
        self._asked += data
        if b"\r\n\r\n" in self._asked:
            self._answer = self._respond(self._asked.split(b" ", 2)[1].decode())

    async def read(self, limit: int = 65536) -> bytes:
        """A part of the answer; b"" at its end."""
        piece, self._answer = self._answer[:limit], self._answer[limit:]
        return piece

    async def write_eof(self) -> None:
        """Nothing more is asked."""

    async def close(self) -> None:
        """Nothing is open."""

    def _respond(self, target: str) -> bytes:
        parts = urlsplit(target)
        path = parse_qs(parts.query).get("path", [""])[0]
        words = parts.path.strip("/").split("/")
        if len(words) != 3 or words[0] != "containers" or words[2] != "archive":
            return _response(501, b'{"message":"the simulated Docker does not know this"}')
        try:
            return _response(200, self._host.read(words[1], path.removeprefix(_WORK)))
        except (AgentError, EngineError):
            return _response(404, b'{"message":"Could not find the file in container"}')


def _response(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.0 {status} Simulated\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
