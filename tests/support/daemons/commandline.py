"""Running `hostler` in this process, as if in a pipe or on a terminal."""

from __future__ import annotations

import io
import json
import sys
from typing import Any, TextIO

import pytest

from hostler.cli import main


class Tty(io.StringIO):
    """Text that believes to be a terminal."""

    def isatty(self) -> bool:
        return True


class Terminal:
    """A terminal with a person who has typed something."""

    def __init__(self, typed: TextIO) -> None:
        self.stdin = Tty(typed.read())


class Ran:
    """What a command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        """stdout as one JSON value."""
        return json.loads(self.out)

    def __repr__(self) -> str:
        return f"Ran({self.code}, out={self.out!r}, err={self.err!r})"


class CommandLine:
    """Call it with words; `tty=True` makes stdout and stderr terminals."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, *words: str, tty: bool = False) -> Ran:
        out: io.StringIO = Tty() if tty else io.StringIO()
        err: io.StringIO = Tty() if tty else io.StringIO()
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            if not getattr(sys.stdin, "isatty", lambda: False)() or not isinstance(sys.stdin, Tty):
                patch.setattr(sys, "stdin", io.StringIO())
            code = main(list(words))
        return Ran(code, out.getvalue(), err.getvalue())
