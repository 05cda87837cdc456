"""A program in a pseudo terminal: what it writes, what keys do, what it costs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

_QUERIES = (
    (b"\x1b[?2026$p", b"\x1b[?2026;2$y"),  # synchronized output: known, off
    (b"\x1b[c", b"\x1b[?62;22c"),
)
_TICKS = os.sysconf("SC_CLK_TCK")


class Terminal:
    """Use as a context manager; ends the program at its close."""

    def __init__(
        self, argv: Sequence[str], *, columns: int = 80, rows: int = 24,
        env: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._argv = list(argv)
        self._size = (rows, columns)
        self._env = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            **(env or {}),
        }
        self.chunks: list[tuple[float, bytes]] = []
        """When (monotonic) which bytes came."""
        self.pid = 0
        self.begun = 0.0
        self._fd = -1
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._news = threading.Condition()

    def __enter__(self) -> Terminal:
        self.begun = time.monotonic()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execvpe(self._argv[0], self._argv, self._env)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", *self._size, 0, 0))
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self._reader.join(5)
        os.close(self._fd)

    @property
    def output(self) -> bytes:
        """All that was written."""
        with self._news:
            return b"".join(data for _, data in self.chunks)

    @property
    def count(self) -> int:
        """Bytes written."""
        with self._news:
            return sum(len(data) for _, data in self.chunks)

    @property
    def unread(self) -> int:
        """Bytes typed that the program has not read yet."""
        fd = os.open(f"/proc/{self.pid}/fd/0", os.O_RDONLY | os.O_NOCTTY)
        try:
            return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
        finally:
            os.close(fd)

    def forget(self) -> None:
        """Drop what was written so far, so that a long watch needs no memory."""
        with self._news:
            self.chunks.clear()

    def has_ended(self) -> bool:
        """Whether the program is gone."""
        return os.waitpid(self.pid, os.WNOHANG)[0] != 0

    def send(self, keys: bytes) -> None:
        """As if typed."""
        os.write(self._fd, keys)

    def resize(self, columns: int, rows: int) -> None:
        """A new size, told by SIGWINCH."""
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)

    def wait_for(self, text: bytes, timeout: float = 60.0, after: int = 0) -> float:
        """When (monotonic) these bytes were there, counted from output byte `after` on."""
        ends = time.monotonic() + timeout
        with self._news:
            while True:
                found = self._when(text, after)
                if found is not None:
                    return found
                left = ends - time.monotonic()
                if left <= 0 or not self._news.wait(left):
                    said = b"".join(data for _, data in self.chunks)[after:][-12000:]
                    raise AssertionError(f"{text!r} did not come in {timeout} s: {said!r}")

    def wait_end(self, timeout: float = 60.0) -> int:
        """The exit code of the program, once it has ended."""
        ends = time.monotonic() + timeout
        while time.monotonic() < ends:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._reader.join(5)  # it reads what the program wrote last
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        raise AssertionError("the program does not end")

    def cpu(self) -> float:
        """Seconds of CPU that the program has used."""
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> int:
        """Resident bytes of the program."""
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _when(self, text: bytes, after: int) -> float | None:
        seen, kept = 0, b""
        for at, data in self.chunks:
            seen += len(data)
            kept = (kept + data)[-(len(text) + len(data)) :]
            if seen > after and text in kept:
                return at
        return None

    def _read(self) -> None:
        while True:
            try:
                readable, _, _ = select.select([self._fd], [], [], 0.2)
                if not readable:
                    continue
                data = os.read(self._fd, 1 << 20)
            except (OSError, ValueError):
                return
            if not data:
                return
            for query, answer in _QUERIES:
                if query in data:
                    os.write(self._fd, answer)
            with self._news:
                self.chunks.append((time.monotonic(), data))
                self._news.notify_all()
