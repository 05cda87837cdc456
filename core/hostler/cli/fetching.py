"""Output of `hostler get`: a progress line, tables of files, one file to stdout."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import PurePath
from typing import TextIO

from hostler.base.errors import HostlerError
from hostler.base.table import cut, terminal_width
from hostler.base.text import clean
from hostler.base.units import format_size
from hostler.cli.log_output import LogPrinter
from hostler.client.fetch import Fetched

_EVERY_S = 0.1


class ProgressLine:
    """One line on a terminal that says how far a file is; without a stream, nothing."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._drawn_at = 0.0
        self._file: str | None = None
        self._since, self._from = 0.0, 0

    def __call__(self, to: str, done: int, size: int) -> None:
        """As `fetch.Progress`."""
        if self._stream is None:
            return
        now = time.monotonic()
        if to != self._file:
            self._file, self._since, self._from = to, now, done
        if now - self._drawn_at < _EVERY_S:
            return
        self._drawn_at = now
        text = progress_text(to, done, size, (done - self._from) / max(0.001, now - self._since))
        self._stream.write(f"\r{cut(clean(text), max(10, terminal_width() - 1))}\x1b[K")
        self._stream.flush()

    def clear(self) -> None:
        """Take it off the terminal."""
        if self._stream is not None and self._drawn_at:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn_at = 0.0


def progress_text(to: str, done: int, size: int, speed: float) -> str:
    """ "50 % of 1 GiB, 110 MiB/s: model.pt"."""
    percent = 100 * done // size if size else 100
    rate = f", {format_size(speed)}/s" if speed else ""  # none is known when it begins
    return f"{percent:3d} % of {format_size(size)}{rate}: {to}"


def result_rows(folder: str, done: Sequence[Fetched]) -> list[tuple[str, ...]]:
    """Rows of what was fetched: the file as it is found from here."""
    return [(str(PurePath(folder) / file.to), format_size(file.size), file.state) for file in done]


class Stdout:
    """One file on its way to stdout: its bytes into a pipe, harmless text on a terminal."""

    def __init__(self, *, color: str = "auto") -> None:
        self._printer = LogPrinter(color=color)
        self._sha256 = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        """SHA-256 of what went out."""
        return self._sha256.hexdigest()

    def expect(self, size: int) -> None:
        """Whoever reads it has room, or not."""

    def write(self, data: bytes) -> None:
        """The next bytes."""
        self._printer.write(data)
        self._sha256.update(data)
        self.size += len(data)

    def restart(self) -> None:
        """What went out cannot be taken back. Raises HostlerError where that is something."""
        if self.size:
            raise HostlerError(
                "the file changed while it was read, and its beginning is written already",
                remedy="Fetch it into a folder: -o DIR",
            )

    def finish(self) -> None:
        """The end."""
        self._printer.finish()
        sys.stdout.flush()
