"""The lock of the state folder: one daemon for each."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
from pathlib import Path
from types import TracebackType

from hostler.base.errors import DaemonBusy


class StateLock:
    """An exclusive lock on a state folder, held for the life of the process.

    Raises DaemonBusy naming the holder's pid and host when another process has it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "daemon.lock"
        self._fd: int | None = None
        self._shows = True
        """Whether the file system always gives the same number for the same file."""

    def __enter__(self) -> StateLock:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 4096, 0).decode(errors="replace")
            os.close(fd)
            raise DaemonBusy(
                f"another daemon{_describe(holder)} holds {self._path.parent}",
                remedy="stop it first: hostler daemon stop",
            ) from None
        os.ftruncate(fd, 0)
        mark = {"pid": os.getpid(), "host": socket.gethostname()}
        os.pwrite(fd, json.dumps(mark).encode(), 0)
        self._fd = fd
        self._shows = not self.is_lost()
        return self

    def is_lost(self) -> bool:
        """Whether the folder is no longer at its path: it was deleted, moved or replaced, and
        another daemon may hold the one there now. Other errors (a full, slow or broken disk) do not
        prove that."""
        if self._fd is None or not self._shows:
            return False
        try:
            held, there = os.fstat(self._fd), os.lstat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return not os.path.samestat(held, there)

    async def until_lost(self, pause: float) -> None:
        """Return once two checks in a row, with this pause between, show that the folder is not at
        its path."""
        seen = 0
        while seen < 2:
            await asyncio.sleep(pause)
            seen = seen + 1 if await asyncio.to_thread(self.is_lost) else 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _describe(holder: str) -> str:
    try:
        mark = json.loads(holder)
        return f" (pid {int(mark['pid'])} on {mark['host']!s})"
    except (ValueError, KeyError, TypeError):
        return ""
