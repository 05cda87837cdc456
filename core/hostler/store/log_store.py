"""All logs of a state folder, `logs/RUN/ATTEMPT.log`: one writer, any number of readers, which read
again at least every second."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path

from hostler.base.errors import InputError
from hostler.store.faults import disk_faults
from hostler.store.files import private_folder
from hostler.store.logs import LogFile
from hostler.store.masked_log import MaskedLog, WithheldLog

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_BLOCK = 64 * 1024
_TAIL_LIMIT = 16 * 1024 * 1024
_LOOK_AGAIN_S = 1.0
_MOST_SAFE = 256


class LogStore:
    """Opens logs for writing, reads them by byte offset, follows them while they grow."""

    def __init__(self, folder: Path) -> None:
        self._folder = private_folder(folder)
        self._open: dict[Path, LogFile] = {}
        self._changed: dict[Path, asyncio.Event] = {}
        self._safe: set[Path] = set()
        """Folders of runs that were made here or found to be private; at most `_MOST_SAFE`."""

    def path(self, run_id: str, attempt_id: str) -> Path:
        """The path of an attempt's log, which may not exist. Raises InputError for an unsafe
        name."""
        return self._folder / _checked(run_id) / f"{_checked(attempt_id)}.log"

    def open(
        self, run_id: str, attempt_id: str, cap: int, secrets: Sequence[str] | None = ()
    ) -> LogFile:
        """The log for appending; the same object while it is open. `secrets`: the values that are
        masked in it; None: the values are unknown, so the output is not stored."""
        path = self.path(run_id, attempt_id)
        there = self._open.get(path)
        if there is not None and not there.is_closed:
            return there
        self._make_folder(path.parent)
        opened = _made(path, cap, lambda: self._wake(path), secrets)
        self._open[path] = opened
        return opened

    def _make_folder(self, folder: Path) -> None:
        """Make a run's folder and check it once: only this user can change the folder of all logs.
        A check from `/` down takes as long as the rest of opening a log."""
        if folder in self._safe and folder.is_dir():
            return
        private_folder(folder)
        if len(self._safe) >= _MOST_SAFE:
            self._safe.clear()
        self._safe.add(folder)

    def size(self, run_id: str, attempt_id: str) -> int:
        """Bytes that can be read now; 0 if there is no log."""
        path = self.path(run_id, attempt_id)
        opened = self._open.get(path)
        if opened is not None and not opened.is_closed:
            return opened.size
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, run_id: str, attempt_id: str, offset: int = 0, limit: int = _BLOCK) -> bytes:
        """At most `limit` bytes from byte `offset`; b"" at the end and if there is no log."""
        path = self.path(run_id, attempt_id)
        room = min(limit, self.size(run_id, attempt_id) - offset)
        if room <= 0 or offset < 0:
            return b""
        with disk_faults(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                return os.pread(descriptor, room, offset)
            finally:
                os.close(descriptor)

    def tail_offset(self, run_id: str, attempt_id: str, lines: int) -> int:
        """Where the last `lines` lines begin; at most 16 MiB before the end."""
        end = self.size(run_id, attempt_id)
        if lines <= 0:
            return end
        lowest = max(0, end - _TAIL_LIMIT)
        begin, newlines = end, 0
        while begin > lowest:
            start = max(lowest, begin - _BLOCK)
            block = self.read(run_id, attempt_id, start, begin - start)
            for index in _newlines_from_end(block):
                # The newline at the end of the file begins no line.
                if start + index == end - 1:
                    continue
                newlines += 1
                if newlines == lines:
                    return start + index + 1
            begin = start
        return lowest

    def tail(self, run_id: str, attempt_id: str, lines: int) -> bytes:
        """The last lines as bytes."""
        offset = self.tail_offset(run_id, attempt_id, lines)
        return self.read(run_id, attempt_id, offset, _TAIL_LIMIT)

    async def follow(
        self, run_id: str, attempt_id: str, offset: int, is_over: Callable[[], bool]
    ) -> AsyncIterator[tuple[int, bytes]]:
        """(offset, bytes) from `offset` on as they arrive, until `is_over()` and all bytes were
        returned.

        A slow reader uses no memory: each piece is read from the file when it is needed.
        """
        path = self.path(run_id, attempt_id)
        while True:
            over = is_over()
            data = self.read(run_id, attempt_id, offset)
            if data:
                yield offset, data
                offset += len(data)
            elif over:
                return
            else:
                # No bytes can be appended between the read above and this line: one thread, no
                # await.
                changed = self._changed.setdefault(path, asyncio.Event())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_AGAIN_S):
                        await changed.wait()

    def run_ids(self) -> set[str]:
        """Runs that have logs, or at least a folder."""
        with disk_faults(self._folder):
            return {folder.name for folder in os.scandir(self._folder)}

    def sizes(self, run_ids: Iterable[str]) -> dict[str, int]:
        """Run id -> bytes of its logs on disk, for those of these runs that have logs."""
        return {run_id: size for run_id in run_ids if (size := self._size_of(run_id))}

    def _size_of(self, run_id: str) -> int:
        folder = self._folder / _checked(run_id)
        with disk_faults(folder), contextlib.suppress(FileNotFoundError):
            return sum(file.stat().st_size for file in folder.iterdir())
        return 0

    def remove_run(self, run_id: str) -> None:
        """Delete the logs of a run; missing ones are ignored."""
        folder = self._folder / _checked(run_id)
        for path in [path for path in self._open if path.parent == folder]:
            self._open.pop(path).close()
        with disk_faults(folder), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)

    def close(self) -> None:
        """Close every open log. May be called twice."""
        for log in list(self._open.values()):
            log.close()
        self._open.clear()

    def _wake(self, path: Path) -> None:
        opened = self._open.get(path)
        if opened is not None and opened.is_closed:
            del self._open[path]
        changed = self._changed.pop(path, None)
        if changed is not None:
            changed.set()


def _made(
    path: Path, cap: int, on_change: Callable[[], None], secrets: Sequence[str] | None
) -> LogFile:
    if secrets is None:
        return WithheldLog(path, cap, on_change)
    return MaskedLog(path, cap, on_change, secrets) if secrets else LogFile(path, cap, on_change)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is not the name of a run or attempt")
    return name


def _newlines_from_end(block: bytes) -> list[int]:
    found, index = [], block.rfind(b"\n")
    while index >= 0:
        found.append(index)
        index = block.rfind(b"\n", 0, index)
    return found
