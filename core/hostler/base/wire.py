"""Minimal HTTP/1.1 for talking to the daemon: bytes in, values out, no sockets.

Both sides are Hostler's own, so this knows what the daemon sends: a status line, headers, and a
body by length, in chunks, or up to the end of the connection.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs milliseconds on the quick path
    from collections.abc import Iterable, Mapping

_MAX_HEAD = 65536
_MAX_DIGITS = 18
"""Of a length: nothing is longer than 10^18 bytes."""
_HEX = frozenset(b"0123456789abcdefABCDEF")


class WireError(ValueError):
    """The other side does not speak the daemon's HTTP."""


class CutShort(WireError):
    """The connection ended in the middle of an answer."""


def whole(text: str) -> int | None:
    """A number of digits only; None: it is not one."""
    is_number = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    return int(text) if is_number else None


def encode_request(
    method: str,
    target: str,
    *,
    length: int | None = None,
    content_type: str = "application/json",
    body: bytes = b"",
    key: str = "",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A request, complete or up to its body.

    `length` announces a body that the caller sends afterwards; without it `body` is the body. With
    a `key` it may be sent again: it is carried out once.
    """
    size = len(body) if length is None else length
    head = f"{method} {target} HTTP/1.1\r\nHost: hostler\r\nConnection: close\r\n"
    if size or method not in ("GET", "HEAD", "DELETE"):
        head += f"Content-Type: {content_type}\r\nContent-Length: {size}\r\n"
    if key:
        head += f"Idempotency-Key: {key}\r\n"
    for name, value in (headers or {}).items():
        head += f"{name}: {value}\r\n"
    return head.encode("ascii") + b"\r\n" + body


_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~,:")


def quote(text: str) -> str:
    """`text` as one path segment or query value (urllib.parse costs 5 ms). Names of files may hold
    bytes that are no text."""
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in data)


def target(path: Iterable[str], query: Mapping[str, object] | None = None) -> str:
    """`/v1/a/b?c=d` from segments and values; None and False values are left out, True is 1, a
    tuple stands for each of its values."""
    url = "/v1/" + "/".join(quote(segment) for segment in path)
    pairs = [
        f"{key}={quote('1' if value is True else str(value))}"
        for key, values in (query or {}).items()
        for value in (values if isinstance(values, tuple) else (values,))
        if value is not None and value is not False
    ]
    return f"{url}?{'&'.join(pairs)}" if pairs else url


class Response:
    """Reads one response: `feed` what arrives, take the body's bytes it returns.

    `status` is 0 until the head is complete. `done` turns true with the last byte of the body.
    """

    __slots__ = ("_buffer", "_chunked", "_head_only", "_left", "_trailer", "done", "headers",
                 "status")  # fmt: skip

    def __init__(self, *, head_only: bool = False) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.done = False
        self._head_only = head_only
        self._buffer = b""
        self._chunked = False
        self._left: int | None = 0
        self._trailer = False

    def feed(self, data: bytes) -> bytes:
        """The body's bytes in `data`; may be empty. Raises WireError."""
        self._buffer += data
        while not self.status:
            if not self._read_head():
                return b""
        if self.done:
            return b""
        return self._read_chunks() if self._chunked else self._read_plain()

    def end(self) -> None:
        """The connection has ended. Raises CutShort if it ended in the middle of the answer."""
        if self.status and self._left is None and not self._chunked:
            self.done = True
        if not self.done:
            raise CutShort("the connection was closed in the middle of an answer")

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise WireError("the answer is not HTTP")
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = self._buffer[end + 4 :]
        words = lines[0].split(" ", 2)
        status = whole(words[1]) if len(words) > 1 else None
        if status is None or not words[0].startswith("HTTP/1."):
            raise WireError("the answer is not HTTP")
        if status < 200:  # 100 Continue: the real answer follows
            return True
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        self.status = status
        self._choose_body()
        return True

    def _choose_body(self) -> None:
        length = self.headers.get("content-length", "")
        if self._head_only or self.status in (204, 304):
            self.done = True
        elif self.headers.get("transfer-encoding", "").lower() == "chunked":
            self._chunked = True
        elif length:
            self._left = whole(length)
            if self._left is None:
                raise WireError("the answer's length is not a number")
            self.done = self._left == 0
        else:
            self._left = None

    def _read_plain(self) -> bytes:
        if self._left is None:
            body, self._buffer = self._buffer, b""
            return body
        body, self._buffer = self._buffer[: self._left], b""
        self._left -= len(body)
        self.done = self._left == 0
        return body

    def _read_chunks(self) -> bytes:
        parts = []
        buffer, at = self._buffer, 0
        while not self.done:
            if self._left:
                part = buffer[at : at + self._left]
                if not part:
                    break
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                if self._left:
                    break
                self._trailer = True
            end = buffer.find(b"\r\n", at)
            if end < 0 and len(buffer) - at <= _MAX_HEAD:
                break
            line, at = buffer[at:end], end + 2
            if self._trailer and not line:  # the line break that ends a chunk
                self._trailer = False
                continue
            self._start_chunk(line)
        self._buffer = buffer[at:]
        return b"".join(parts)

    def _start_chunk(self, line: bytes) -> None:
        size = line.split(b";", 1)[0]
        is_size = size and _HEX.issuperset(size) and len(size) <= _MAX_DIGITS
        if self._trailer or not is_size:
            raise WireError("the answer's chunks are malformed")
        self._left = int(size, 16)
        self.done = self._left == 0
