"""Turns BuildKit's progress messages into log lines, and stores which step failed. Pure except for
its own state."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field

from hostler.base.text import clean_line
from hostler.runtimes.docker.protobuf import fields, text, texts

_VERTEX, _LOG = 1, 3
_MOST_STEPS = 10_000
_TAIL = 2000
_RUN = re.compile(r"\[[^\]]*\d/\d+\] RUN ")


@dataclass(slots=True)
class Trace:
    """Numbers the steps in the order in which they begin."""

    _numbers: dict[str, int] = field(default_factory=dict)
    _told: set[tuple[str, str]] = field(default_factory=set)
    step: str = ""
    """The step that started last."""
    failed: str = ""
    """The step that failed."""
    tail: bytes = b""
    """The end of the commands' output."""
    _silent: dict[str, float] = field(default_factory=dict)
    """Commands without output so far -> when they started."""

    def lines(self, aux: object, now: float = 0.0) -> bytes:
        """The new lines of a message that arrived at `now`; empty for an invalid message."""
        try:
            data = base64.b64decode(aux, validate=True) if isinstance(aux, str) else b""
            out = [line for each in texts(data, _VERTEX) for line in self._vertex(each)]
            logs = b"".join(self._log(each) for each in texts(data, _LOG))
            for each in texts(data, _VERTEX):
                self._note_command(each, now)
        except ValueError:  # BadMessage, or invalid base64
            return b""
        self.tail = (self.tail + logs)[-_TAIL:]
        return b"".join(out) + logs

    def _vertex(self, data: bytes) -> list[bytes]:
        # Stored values are short, since a host may report ten thousand steps.
        digest, name, error = text(data, 1)[:200], clean_line(text(data, 3), 500), text(data, 7)
        if len(self._numbers) >= _MOST_STEPS and digest not in self._numbers:
            return []
        seen = {number for number, _ in fields(data)}
        said: list[str] = []
        if 5 in seen and self._is_new(digest, "begun"):
            said.append(name)
            self.step = name
        if 4 in seen and self._is_new(digest, "cached"):
            said.append("CACHED")
        if error and self._is_new(digest, "error"):
            said.append(f"ERROR: {clean_line(error, 500)}")
            self.failed = name
        number = self._numbers.setdefault(digest, len(self._numbers) + 1) if said else 0
        return [f"#{number} {line}\n".encode() for line in said]

    def is_starting(self, now: float, within: float) -> bool:
        """Whether a command started less than `within` seconds ago and has no output: its container
        may not run yet."""
        return any(now - begun < within for begun in self._silent.values())

    def _log(self, data: bytes) -> bytes:
        self._silent.pop(text(data, 1)[:200], None)
        return text(data, 4).encode()

    def _note_command(self, data: bytes, now: float) -> None:
        digest, seen = text(data, 1)[:200], {number for number, _ in fields(data)}
        if 6 in seen:  # the step has ended
            self._silent.pop(digest, None)
        elif 5 in seen and _RUN.match(text(data, 3)) and self._is_new(digest, "command"):
            self._silent[digest] = now

    def _is_new(self, digest: str, what: str) -> bool:
        if (digest, what) in self._told:
            return False
        self._told.add((digest, what))
        return True
