"""Copies of runs on this host, from which a lost database is rebuilt: specifications, and notes of
starts and ends, with limits of their size."""

from __future__ import annotations

import os
import threading
from typing import Dict, Iterable, List, Optional, Sequence, TypedDict

from hostler_agent.fields import whole
from hostler_agent.folders import Folders, Refusal, check_attempt, write_file
from hostler_agent.json_values import Json, Message, Outgoing

MOST_SPEC = 6 * 1024 * 1024
"""Longest specification, in bytes: it must fit into a line of the protocol."""
PAGE = 1024 * 1024
"""Limit of the lines in one answer, in bytes."""
_OTHERS = 64
MOST_ENDED = 4 * 1024 * 1024
"""Limit of the file about ended runs, in bytes. Above it, the older half is removed."""
_SPEC, _LINES, _ENDED = ".spec", ".attempts", ".ended"


class Page(TypedDict):
    """Whole lines of a file, and the byte offset of the next page."""

    lines: str
    next: int


class Records:
    """Files below `runs/<daemon>/`: `<run>.spec`, `<run>.attempts`; beside it `<daemon>.ended`.
    Only the daemon reads their content."""

    def __init__(self, folders: Folders) -> None:
        self._base = os.path.join(folders.base, "runs")
        self._changing = threading.Lock()
        """Held by each change, so that no line is written after the removal of its run."""

    def keep(self, payload: Message) -> Dict[str, bool]:
        """Store a specification, a line about an attempt, or both; `lines` replaces all earlier
        lines. In the answer, `spec` says whether the host has the run's specification. Without it,
        lines are not stored."""
        run = self._run(payload.get("daemon_id"), payload.get("run_id"))
        spec, line = _line("spec", payload.get("spec")), _line("line", payload.get("line"))
        lines = _lines(payload.get("lines"))
        with self._changing:
            os.makedirs(os.path.dirname(run), 0o700, exist_ok=True)
            if spec is not None:
                write_file(run + _SPEC, spec)
            there = os.path.exists(run + _SPEC)
            if line is not None and there:  # a run without a specification gets no lines
                _append(run + _LINES, line)
            if lines is not None and there:
                write_file(run + _LINES, lines, sync=True)
        return {"spec": there}

    def list(self, payload: Message) -> Outgoing:
        """List the daemon's runs that have records here, and other daemons that have such runs."""
        own = self._folder(payload.get("daemon_id"))
        others = [name for name in _names(self._base) if name != os.path.basename(own)]
        return {
            "runs": sorted(_runs(own)),
            "others": [n for n in sorted(others) if _runs(os.path.join(self._base, n))][:_OTHERS],
        }

    def read(self, payload: Message) -> Outgoing:
        """Read a page of a run's lines from a byte offset on; the first page includes the
        specification."""
        run = self._run(payload.get("daemon_id"), payload.get("run_id"))
        offset = whole(payload, "offset")
        spec = None
        if offset == 0:
            with open(run + _SPEC, "rb") as file:
                spec = file.read(MOST_SPEC).decode("ascii", "replace")
        return {"spec": spec, **_page(run + _LINES, offset)}

    def ended(self, payload: Message) -> Page:
        """Read a page of the lines about forgotten runs, from a byte offset on."""
        return _page(self._folder(payload.get("daemon_id")) + _ENDED, whole(payload, "offset"))

    def forget(
        self, daemon_id: Json, runs: Iterable[str], lines: Sequence[str] = ()
    ) -> Dict[str, int]:
        """Remove the records of these runs; missing ones are ignored. `lines` record how the runs
        ended, for a daemon that is restored from an older backup."""
        if lines:
            self._note_ends(self._folder(daemon_id) + _ENDED, lines)
        removed = 0
        for run_id in runs:
            run = self._run(daemon_id, run_id)
            with self._changing:
                removed += _unlink(run + _SPEC)
                _unlink(run + _LINES)
        return {"removed": removed}

    def _note_ends(self, path: str, lines: Sequence[str]) -> None:
        ends = [_line("line", line) or b"" for line in lines]
        with self._changing:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            for end in ends:
                _append(path, end)
            if os.path.getsize(path) > MOST_ENDED:
                with open(path, "rb") as file:
                    file.seek(-MOST_ENDED // 2, os.SEEK_END)
                    write_file(path, file.read().partition(b"\n")[2])

    def _folder(self, daemon_id: Json) -> str:
        return os.path.join(self._base, check_attempt(daemon_id))

    def _run(self, daemon_id: Json, run_id: Json) -> str:
        return os.path.join(self._folder(daemon_id), check_attempt(run_id))


def _page(path: str, offset: int) -> Page:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(PAGE)
    except FileNotFoundError:
        data = b""
    whole = data[: data.rfind(b"\n") + 1]  # without a partial line from a crash
    return {"lines": whole.decode("ascii", "replace"), "next": offset + len(whole)}


def _names(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _runs(folder: str) -> List[str]:
    """The runs whose specification is stored in a folder."""
    return [name[: -len(_SPEC)] for name in _names(folder) if name.endswith(_SPEC)]


def _unlink(path: str) -> bool:
    """Remove a file; return whether it existed."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def _line(name: str, value: Json) -> Optional[bytes]:
    if value is None:
        return None
    if not isinstance(value, str) or "\n" in value or len(value) > MOST_SPEC:
        raise Refusal("%s should be a line of at most 6 MiB" % name, "InputError")
    try:
        return value.encode("ascii")
    except UnicodeEncodeError:
        raise Refusal("%s should be ASCII" % name, "InputError") from None


def _lines(value: Json) -> Optional[bytes]:
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise Refusal("lines should be a list of lines", "InputError")
    data = b"".join((_line("lines", line) or b"") + b"\n" for line in value)
    if len(data) > MOST_SPEC:
        raise Refusal("lines should be at most 6 MiB", "InputError")
    return data


def _append(path: str, line: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        # One write, so lines of two threads never mix. A partial line from a full disk ends with
        # the next line.
        written = os.write(descriptor, line + b"\n")
        if written <= len(line):
            os.write(descriptor, b"\n")
    finally:
        os.close(descriptor)
