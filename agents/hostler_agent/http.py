"""Minimal HTTP over a Unix socket, for calls to Docker: which socket is used (`DOCKER_HOST`,
Podman), time limit, size limit, wording of failures.

The standard library's client would load 60 modules more than this file.
"""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import time
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Tuple

from hostler_agent.json_values import Json, Message, Outgoing, tables

DOCKER_TIMEOUT = 600.0
"""Seconds without a byte during transfers. It is long because Docker may be writing an image, for
example."""
MAX_BODY = 64 * 1024 * 1024
_STEP = 1.0
_ODD = "Docker gave an answer that cannot be read (%s)"


class HttpError(Exception):
    """The request failed. `status` is 0 when there was no answer at all."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def socket_path() -> Optional[str]:
    """The path of the Docker (or Podman) socket: from `DOCKER_HOST`, the system's, or this user's
    own; None if there is none."""
    host = os.environ.get("DOCKER_HOST", "")
    if host.startswith("unix://"):
        return host[len("unix://") :]
    own = os.environ.get("XDG_RUNTIME_DIR") or "/run/user/%d" % os.getuid()
    found = [
        path
        for path in (
            "/var/run/docker.sock",
            own + "/docker.sock",
            own + "/podman/podman.sock",
            "/run/podman/podman.sock",
        )
        if _is_socket(path)
    ]
    usable = [path for path in found if os.access(path, os.R_OK | os.W_OK)]
    return (usable + found)[0] if found else None


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


class Connection:
    """One connection to a Unix socket. Each method may raise HttpError; then close the
    connection."""

    def __init__(
        self, path: str, timeout: Optional[float], waiting: Optional[Callable[[], None]] = None
    ) -> None:
        """`waiting` is called from time to time while no data arrives."""
        self._waiting = waiting
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._data = b""
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise HttpError("%s: %s" % (path, error.strerror or error)) from error

    def close(self) -> None:
        """End it; may be called twice, and from another thread, which wakes a blocked reader."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was not connected
        self._socket.close()

    def peer(self) -> bytes:
        """The kernel's packed pid, uid and gid of the listening process; b"" if unknown."""
        try:
            return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except (OSError, AttributeError):
            return b""

    def get(self, path: str) -> Message:
        """GET the object at a path."""
        return _object(path, self.stream("GET", path))

    def get_list(self, path: str) -> List[Message]:
        """GET the list of objects at a path; null counts as an empty list, because Go writes it
        so."""
        value = _parsed(path, self.stream("GET", path)) or []
        found = tables(value)
        if not isinstance(value, list) or len(found) < len(value):
            raise HttpError(_ODD % path)
        return found

    def post(self, path: str, value: Outgoing) -> Message:
        """POST an object; return the object that answers."""
        return _object(path, self.send_json(path, value))

    def send_json(self, path: str, value: Outgoing) -> Iterator[bytes]:
        """POST JSON, and yield the answer in pieces."""
        data = json.dumps(value).encode("ascii")
        return self.stream("POST", path, len(data), [data], "application/json")

    def head(self, path: str) -> Dict[str, str]:
        """The headers of the answer to a HEAD, by their names in lower case."""
        self._send(("HEAD %s HTTP/1.1\r\nHost: docker\r\n\r\n" % path).encode("ascii"))
        status, headers = self._head()
        if status >= 400:
            raise HttpError("%s (HTTP %d)" % (path, status), status)
        return headers

    def stream(
        self,
        method: str,
        path: str,
        size: Optional[int] = None,
        body: Iterable[bytes] = (),
        kind: str = "application/x-tar",
    ) -> Iterator[bytes]:
        """Send a request (with a body of `size` bytes) and yield the answer's body in pieces."""
        head = "%s %s HTTP/1.1\r\nHost: docker\r\n" % (method, path)
        if size is not None:
            head += "Content-Type: %s\r\nContent-Length: %d\r\n" % (kind, size)
        cut: Optional[HttpError] = None
        try:
            self._send(head.encode("ascii") + b"\r\n")
            for piece in body:
                self._send(piece)
        except HttpError as error:
            cut = error  # Docker may refuse before it has read all: its answer has the reason
        status, headers = self._answer(cut)
        pieces = self._body(method, status, headers)
        if status >= 400:
            raise HttpError(_message(b"".join(pieces), status), status)
        return pieces

    def _answer(self, cut: Optional[HttpError]) -> Tuple[int, Dict[str, str]]:
        try:
            return self._head()
        except HttpError:
            if cut is None:
                raise
        raise cut

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise HttpError("Docker cut the connection: %s" % error) from error

    def _more(self) -> bytes:
        try:
            self._wait()
            data = self._socket.recv(65536)
        except socket.timeout as error:
            raise HttpError("Docker does not answer") from error
        except OSError as error:
            raise HttpError("Docker cut the connection: %s" % error) from error
        return data

    def _wait(self) -> None:
        """Wait for data, at most for the read timeout. The read itself then has the same timeout
        again, so both together take at most twice as long."""
        if self._waiting is None:
            return
        until = time.monotonic() + (self._socket.gettimeout() or 0.0)
        while not select.select([self._socket], [], [], _STEP)[0] and time.monotonic() < until:
            self._waiting()

    def _line(self) -> bytes:
        while b"\n" not in self._data:
            if len(self._data) > 65536:
                raise HttpError("Docker's answer is not HTTP")
            data = self._more()
            if not data:
                raise HttpError("Docker cut the connection")
            self._data += data
        line, _, self._data = self._data.partition(b"\n")
        return line.rstrip(b"\r")

    def _head(self) -> Tuple[int, Dict[str, str]]:
        status_line = self._line().split(b" ", 2)
        if len(status_line) < 2 or not status_line[1].isdigit():
            raise HttpError("Docker's answer is not HTTP")
        headers: Dict[str, str] = {}
        while True:
            line = self._line()
            if not line:
                break
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if status_line[1] == b"100":
            return self._head()
        return int(status_line[1]), headers

    def _body(self, method: str, status: int, headers: Dict[str, str]) -> Iterator[bytes]:
        if status in (204, 304) or method == "HEAD":
            return
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while True:
                size = int(self._line().split(b";")[0], 16)
                if not size:
                    self._line()
                    return
                yield from self._exactly(size)
                self._line()
        elif "content-length" in headers:
            yield from self._exactly(int(headers["content-length"]))
        else:
            yield self._data
            self._data = b""
            while True:
                data = self._more()
                if not data:
                    return
                yield data

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._data:
                self._data = self._more()
                if not self._data:
                    raise HttpError("Docker cut the connection")
            piece, self._data = self._data[:size], self._data[size:]
            size -= len(piece)
            yield piece


def query(target: str, **values: object) -> str:
    """A path with a query; values that are not text are sent as JSON."""
    pairs = [
        "%s=%s" % (key, _quoted(value if isinstance(value, str) else json.dumps(value)))
        for key, value in values.items()
    ]
    return target + "?" + "&".join(pairs)


def _quoted(text: str) -> str:
    return "".join(
        chr(byte)
        if byte < 128 and (chr(byte).isalnum() or chr(byte) in "-._~")
        else "%%%02X" % byte
        for byte in text.encode("utf-8", "surrogateescape")
    )


def _parsed(path: str, pieces: Iterable[bytes]) -> Json:
    try:
        value: Json = json.loads(b"".join(pieces))
    except ValueError as error:
        raise HttpError("%s: not JSON: %s" % (path, error)) from error
    return value


def _object(path: str, pieces: Iterable[bytes]) -> Message:
    value = _parsed(path, pieces)
    if not isinstance(value, dict):
        raise HttpError(_ODD % path)
    return value


def _message(body: bytes, status: int) -> str:
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = body[:200].decode("utf-8", "replace")
    return "%s (HTTP %d)" % (message, status)
