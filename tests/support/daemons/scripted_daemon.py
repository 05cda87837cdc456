"""A daemon that answers what a test tells it to, over a real Unix socket."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from hostler.model.codec import to_json

VERSION = {
    "version": "999.0",
    "api": 1,
    "daemon_id": "d" * 32,
    "pid": os.getpid(),
    "started_at": 1764000000.0,
    "state": "/nowhere",
}


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as a JSON value."""
        return json.loads(self.body)


@dataclass
class Answer:
    """What is sent back: `parts` as chunks (an Event is waited for in between), or `body`.

    `cut`: close in the middle instead of ending properly.
    """

    body: Any = None
    status: int = 200
    parts: list[bytes | threading.Event] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


Handler = Callable[[Asked], Answer]


class ScriptedDaemon:
    """Answers by (method, path); everything else is 404. `asked` holds all requests.

    With `listening` false nobody can connect before `listen` is called.
    """

    def __init__(self, path: Path, *, listening: bool = True) -> None:
        self.path = path
        self.asked: list[Asked] = []
        self._routes: dict[tuple[str, str], Handler] = {}
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._ending = False
        self.on("GET", "/v1/version", VERSION)
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        if listening:
            self.listen()

    def listen(self) -> None:
        """Let clients connect."""
        self._server.bind(str(self.path))
        self._server.listen(64)
        self._acceptor.start()

    def on(self, method: str, path: str, answer: Any) -> None:
        """Answer with a JSON value, an Answer, or what a function of the request returns.

        A path that ends in `*` stands for all that begin so and have no route of their own.
        """
        if callable(answer):
            self._routes[method, path] = answer
        else:
            made = answer if isinstance(answer, Answer) else Answer(answer)
            self._routes[method, path] = lambda _asked: made

    def requests(self, method: str, path: str) -> list[Asked]:
        """The requests that came for a route."""
        return [a for a in self.asked if (a.method, a.path) == (method, path)]

    def close(self) -> None:
        """Stop listening and end all connections."""
        self._ending = True
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in list(self._open):
            with suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(5)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self._ending:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            self._open.add(connection)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                asked = _read(connection)
                if asked is not None:
                    self.asked.append(asked)
                    self._answer(connection, asked)
            except OSError:
                pass  # the client has gone, as some tests mean it
            finally:
                self._open.discard(connection)

    def _answer(self, connection: socket.socket, asked: Asked) -> None:
        missing = {"error": {"kind": "NotFoundError", "message": f"no {asked.path}", "remedy": ""}}
        handler = self._handler(asked)
        answer = handler(asked) if handler else Answer(missing, 404)
        head = f"HTTP/1.1 {answer.status} X\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        if answer.parts is not None:
            connection.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
            self._send_parts(connection, answer.parts)
            if not answer.cut:
                connection.sendall(b"0\r\n\r\n")
            return
        body = b"" if answer.body is None else json.dumps(answer.body, default=to_json).encode()
        length = len(body) + (10 if answer.cut else 0)
        connection.sendall(f"{head}content-length: {length}\r\n\r\n".encode())
        if asked.method != "HEAD":
            connection.sendall(body)

    def _handler(self, asked: Asked) -> Handler | None:
        exact = self._routes.get((asked.method, asked.path))
        if exact is not None:
            return exact
        for (method, path), handler in self._routes.items():
            prefix = path.removesuffix("*")
            if method == asked.method and prefix != path and asked.path.startswith(prefix):
                return handler
        return None

    def _send_parts(self, connection: socket.socket, parts: list[bytes | threading.Event]) -> None:
        for part in parts:
            if isinstance(part, threading.Event):
                while not part.wait(0.05) and not self._ending:
                    pass
            elif part:
                connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))


def _read(connection: socket.socket) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
    length = int(headers.get("content-length", "0"))
    while len(body) < length:
        more = connection.recv(65536)
        if not more:
            return None
        body += more
    url = urlsplit(target)
    return Asked(method, unquote(url.path), dict(parse_qsl(url.query)), body)


def json_lines(*values: Any) -> list[bytes | threading.Event]:
    """Values as the parts of a stream of JSON lines."""
    return [json.dumps(value, default=to_json).encode() + b"\n" for value in values]


@contextmanager
def scripted_daemon() -> Iterator[ScriptedDaemon]:
    """One in a folder of its own (short: a Unix socket's path has 107 bytes)."""
    folder = tempfile.mkdtemp(prefix="hs-")
    daemon = ScriptedDaemon(Path(folder, "hostler.sock"))
    try:
        yield daemon
    finally:
        daemon.close()
        shutil.rmtree(folder)
