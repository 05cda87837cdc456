"""The part of the asynchronous client that fetches files."""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hostler.client import calls
from hostler.client.aio_exchange import AsyncRemoteFile
from hostler.client.aio_records import AsyncRecords
from hostler.client.calls import Call
from hostler.quick.socket import Found

if TYPE_CHECKING:
    from hostler.client.fetch import Fetched, Progress


class AsyncFileCalls(AsyncRecords):
    """Files of runs. Part of `AsyncClient`."""

    found: Found
    timeout: float
    revive: Callable[[], object] | None

    @abstractmethod
    async def _slow_object(self, call: Call) -> dict[str, Any]:
        """As `_object`, for an answer that hosts may be asked for."""

    @abstractmethod
    async def _remote_file(self, call: Call) -> AsyncRemoteFile:
        """The answer to a call as a file that arrives."""

    async def files(self, run_id: str, *, stage: str | None = None) -> dict[str, Any]:
        """The `hostler.files/1` object: all files of a run (or of a stage, also one that runs) that
        can be fetched, in its `files`."""
        pages = [await self._slow_object(calls.files(run_id, stage, 0))]
        while (after := pages[-1].get("next")) is not None:
            pages.append(await self._slow_object(calls.files(run_id, stage, after)))
        return calls.all_files(pages)

    async def list_folder(self, run_id: str, stage: str, path: str = "") -> dict[str, Any]:
        """The `hostler.ls/1` object: what lies in a folder of a stage, now where it runs."""
        return await self._slow_object(calls.list_folder(run_id, stage, path))

    async def read_file(
        self,
        run_id: str,
        stage: str,
        path: str,
        *,
        artifact: str | None = None,
        attempt: int | None = None,
        offset: int = 0,
        etag: str = "",
    ) -> AsyncRemoteFile:
        """The bytes of a file; see `Client.read_file`."""
        return await self._remote_file(
            calls.content(run_id, stage, path, artifact, attempt, offset, etag)
        )

    async def note_fetched(
        self, run_id: str, stage: str, attempt_id: str, artifact: str | None
    ) -> dict[str, Any]:
        """Tell the daemon that you have all files of an artifact (None: all that an attempt left on
        its host): where something has to go, that goes first. `download` does so itself."""
        return await self._object(calls.fetched(run_id, stage, attempt_id, artifact))

    async def download(
        self,
        run_id: str,
        names: Sequence[str] = (),
        target: str | Path = ".",
        *,
        stage: str | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Fetched, ...]:
        """Fetch files of a run into a folder; see `Client.download`. A thread does it, in which
        `progress` is called; cancelled, it stops soon."""
        from hostler.client.fetch import Fetcher
        from hostler.client.fetch_target import Target
        from hostler.client.sync import Client

        found = await self.files(run_id, stage=stage)
        stopped = threading.Event()
        client = Client(found=self.found, timeout=self.timeout)
        fetcher = Fetcher(client, run_id, progress, self.revive, stopped.is_set)
        try:
            return await asyncio.to_thread(
                fetcher.fetch, found["files"], names, Target(target), force=force
            )
        finally:
            stopped.set()
