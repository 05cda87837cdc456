"""A client whose one log is bytes in memory; it grows, ends or vanishes when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from hostler.base.errors import NoDaemonError, NotFoundError


class StoredLog:
    """Stands where `AsyncClient` does, for its `logs`."""

    def __init__(self, data: bytes = b"", *, page: int = 65_536) -> None:
        self.data, self.page = data, page
        self.is_over = self.is_away = self.is_missing = False
        self.gate = asyncio.Event()
        """Parts of a given length come once it is set."""
        self.gate.set()
        self.asked: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    def grow(self, data: bytes) -> None:
        """The stage wrote more."""
        self.data += data
        self._tell()

    def end(self) -> None:
        """The stage ended."""
        self.is_over = True
        self._tell()

    def cut(self) -> None:
        """The daemon goes away; `is_away = False` brings it back."""
        self.is_away = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def logs(self, run_id: str, stage: str, **asked: Any) -> _Answer:
        """As the daemon's."""
        self.asked.append({"run_id": run_id, "stage": stage, **asked})
        if self.is_away:
            raise NoDaemonError("nobody listens", remedy="hostler daemon start")
        if self.is_missing:
            raise NotFoundError("stage train has not started, so it has no log")
        return _Answer(self, asked)

    async def wait(self) -> None:
        """Until something changes."""
        await self._news.wait()


class _Answer:
    def __init__(self, log: StoredLog, asked: dict[str, Any]) -> None:
        self._log, self._asked = log, asked
        self.size, self.attempt = len(log.data), f"r1-train-{asked.get('attempt') or 2}"

    async def close(self) -> None:
        """Nothing is open."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        log, at = self._log, int(self._asked.get("offset") or 0)
        length = self._asked.get("length")
        end = None if length is None else at + length
        if length:
            await log.gate.wait()
        while True:
            if log.is_away:
                raise NoDaemonError("it went away", remedy="")
            upto = min(at + log.page, len(log.data) if end is None else min(end, len(log.data)))
            if upto > at:
                yield log.data[at:upto]
                at = upto
            elif not self._asked.get("follow") or log.is_over or at == end:
                return
            else:
                await log.wait()
