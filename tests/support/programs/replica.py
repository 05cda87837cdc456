"""A replica of a service, for tests: a server that loads for a while, then answers.

    VERSION=2 LOADS=1.5 python3 replica.py      # HOSTLER_PORT is its port

It says which release it is and how many requests it got before a check found it good (`early`).
`/health` is its check, `/stream` sends for STREAM seconds, `/exit` ends it. Python 3.8 or newer.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

PORT = int(os.environ["HOSTLER_PORT"])
VERSION = os.environ.get("VERSION", "1")
READY_AT = time.monotonic() + float(os.environ.get("LOADS", "0"))
STREAM = float(os.environ.get("STREAM", "5"))
STEP = 0.1


class Replica(asyncio.Protocol):
    """One connection."""

    probed = False
    """Whether a check was answered well, on any connection."""
    early = 0

    def __init__(self) -> None:
        self._data = b""
        self._streams = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while b"\r\n\r\n" in self._data:
            head, _, self._data = self._data.partition(b"\r\n\r\n")
            self._answer(head.split(b" ")[1])
            if b"connection: close" in head.lower() and not self._streams:
                self._transport.close()

    def _answer(self, path: bytes) -> None:
        if path == b"/health":
            good = time.monotonic() >= READY_AT
            Replica.probed = Replica.probed or good
            self._say(b"200 OK" if good else b"503 Loading", b"")
            return
        if not Replica.probed:
            Replica.early += 1
        if path == b"/exit":
            sys.exit(3)
        if path == b"/stream":
            self._transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            self._streams = True
            self._stream(round(STREAM / STEP))
        else:
            self._say(b"200 OK", b"version %s early %d whole" % (VERSION.encode(), Replica.early))

    def _say(self, status: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)

    def _stream(self, left: int) -> None:
        if self._transport.is_closing():
            return
        if not left:
            self._transport.write(b"6\r\n whole\r\n0\r\n\r\n")
            self._transport.close()
            return
        self._transport.write(b"1\r\n.\r\n")
        asyncio.get_running_loop().call_later(STEP, self._stream, left - 1)


async def main() -> None:
    """Listen until ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Replica, "127.0.0.1", PORT)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
