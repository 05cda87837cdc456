"""Run `hostler` and note in which of its files a function ran. Needs Python 3.12.

usage: watched.py ROOT SOCKET WORDS ...

SOCKET takes one line a connection. `phase NAME`: what runs from now on is noted under NAME, as if
nothing had run before. `files NAME`: the files noted under NAME, as JSON. At the end, the files of
the first phase are written to SOCKET.json. Only lines inside functions count, not those of a module
or class, which run when it is imported.
"""

from __future__ import annotations

import json
import runpy
import socket
import sys
import threading
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import CodeType
from typing import Any

_monitoring: Any = vars(sys).get("monitoring")  # the type checker takes this for Python 3.11
_FOLDERS = ("core", "tui", "agents")


class Notes:
    """Phase -> the product's files, relative to its root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._phase = "all"
        self._files: dict[str, set[str]] = {"all": set()}
        self._inside = tuple(f"{root / folder}/" for folder in _FOLDERS)

    def line(self, code: CodeType, _number: int) -> object:
        """A line is about to run; it is not told of again in this phase."""
        if code.co_flags & CO_OPTIMIZED and code.co_filename.startswith(self._inside):
            self._files[self._phase].add(str(Path(code.co_filename).relative_to(self._root)))
        return _monitoring.DISABLE

    def begin(self, phase: str) -> None:
        """Note under this name from now on."""
        self._files.setdefault(phase, set())
        self._phase = phase
        _monitoring.restart_events()

    def files(self, phase: str) -> list[str]:
        """What was noted."""
        return sorted(self._files.get(phase, ()))


def watch(notes: Notes) -> None:
    """Be told of every line, in every thread."""
    tool = _monitoring.COVERAGE_ID
    _monitoring.use_tool_id(tool, "hostler-house")
    _monitoring.register_callback(tool, _monitoring.events.LINE, notes.line)
    _monitoring.set_events(tool, _monitoring.events.LINE)


def answer(listening: socket.socket, notes: Notes) -> None:
    """Serve whoever measures."""
    while True:
        asking, _ = listening.accept()
        with asking, asking.makefile("rw") as lines:
            verb, name = lines.readline().split()
            if verb == "phase":
                notes.begin(name)
            lines.write(json.dumps(notes.files(name)) + "\n")


def main(root: Path, path: Path, words: list[str]) -> None:
    """Watch one command, a daemon's too."""
    notes = Notes(root)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    threading.Thread(target=answer, args=(listening, notes), daemon=True).start()
    watch(notes)
    sys.argv = ["hostler", *words]
    try:
        runpy.run_module("hostler", run_name="__main__", alter_sys=True)
    finally:
        path.with_suffix(".json").write_text(json.dumps(notes.files("all")))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
