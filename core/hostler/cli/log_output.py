"""Prints logs of stages: which escape sequences reach a terminal (colours, progress bars), the
name before each line of several logs, unchanged bytes in pipes.

A pipe gets the bytes as they are. A terminal gets text whose escapes cannot do anything but colour
and rewrite their own line (progress bars).
"""

from __future__ import annotations

import codecs
import re
import sys
from typing import TextIO

from hostler.base.table import is_terminal, wants_color
from hostler.base.text import MOST_OF_LINE, Lines, clean

_SGR = re.compile(r"(\x1b\[[0-9;:]{0,40}m)")
_UNFINISHED = re.compile(r"(?:\x1b(?:\[[0-9;:]{0,40})?|\r)\Z")
_RESET = "\x1b[0m"


def safe_text(text: str, *, color: bool) -> str:
    """`text` as it may go to a terminal: colours kept (or dropped), all other escapes shown.

    A carriage return starts the line again, as progress bars intend.
    """
    if "\x1b" not in text and "\r" not in text:
        return clean(text, keep_newlines=True)
    parts = _SGR.split(text.replace("\r\n", "\n"))
    shown = []
    for n, part in enumerate(parts):
        if n % 2:
            shown.append(part if color else "")
        else:
            pieces = (clean(piece, keep_newlines=True) for piece in part.split("\r"))
            shown.append("\r\x1b[K".join(pieces))
    return "".join(shown)


class LinePrinter:
    """Writes the lines of one of several logs, with a name before each."""

    def __init__(self, printer: LogPrinter, name: str) -> None:
        self._printer = printer
        self._prefix = f"{name} | ".encode()
        self._lines = Lines()

    def write(self, data: bytes) -> None:
        """The next bytes."""
        for line in self._lines.feed(data):
            self._put(line)
        while self._lines.waiting > MOST_OF_LINE:  # a line without end must not fill the memory
            whole = self._lines.rest()
            self._put(whole[:MOST_OF_LINE])
            self._lines.feed(whole[MOST_OF_LINE:])

    def finish(self) -> None:
        """The end of the log."""
        if rest := self._lines.rest():
            self._put(rest)
        self._printer.finish()

    def _put(self, line: bytes) -> None:
        self._printer.write(self._prefix + line + b"\n")


class LogPrinter:
    """Takes a log's bytes in any pieces and writes them to stdout.

    `grep` keeps lines that match; `raw` gives a terminal the bytes as well.
    """

    def __init__(
        self,
        *,
        raw: bool = False,
        grep: re.Pattern[bytes] | None = None,
        color: str = "auto",
        stream: TextIO | None = None,
    ) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._raw = raw or not is_terminal(self._stream)
        self._grep = grep
        self._color = wants_color(color, self._stream)
        self._lines = Lines()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self._colored = False

    def write(self, data: bytes) -> None:
        """The next bytes."""
        if self._grep is not None:
            data = self._matching(data)
        if data:
            self._put(data)

    def finish(self) -> None:
        """The end of the log: writes bytes that were held back, and resets colours."""
        rest = self._lines.rest()
        if self._grep is not None and rest and self._grep.search(rest):
            self._put(rest + b"\n")
        if not self._raw:
            held = self._held + self._decoder.decode(b"", final=True)
            self._held = ""
            self._stream.write(safe_text(held, color=self._color))
            if self._colored:
                self._stream.write(_RESET)
        self._stream.flush()

    def _matching(self, data: bytes) -> bytes:
        assert self._grep is not None
        lines = self._lines.feed(data)
        if self._lines.waiting > MOST_OF_LINE:  # a line without end must not fill the memory
            lines.append(self._lines.rest())
        return b"".join(line + b"\n" for line in lines if self._grep.search(line))

    def _put(self, data: bytes) -> None:
        buffer = getattr(self._stream, "buffer", None)
        if self._raw and buffer is not None:
            self._stream.flush()
            buffer.write(data)
            buffer.flush()
            return
        text = self._held + self._decoder.decode(data)
        if not self._raw:
            cut = _UNFINISHED.search(text)
            self._held = cut[0] if cut else ""
            text = text[: len(text) - len(self._held)]
            self._colored = self._colored or (self._color and _SGR.search(text) is not None)
            text = safe_text(text, color=self._color)
        self._stream.write(text)
        self._stream.flush()
