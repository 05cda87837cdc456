"""The part of the synchronous client that fetches files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hostler.client import calls
from hostler.client.calls import Call
from hostler.client.exchange import RemoteFile
from hostler.client.records import Records

if TYPE_CHECKING:
    from hostler.client.fetch import Fetched, Progress

SLOW_S = 60.0
"""Seconds that a host may take to list a folder or open a file."""
SLOWEST = 32 * 1024 * 1024
"""Bytes a second that a host reads, at least, of what is there already: all is hashed."""
LONGEST_S = 3600.0
"""As long as an agent says that it is still at that."""


class FileCalls(Records):
    """Files of runs. Part of `Client`."""

    revive: Callable[[], object] | None

    @abstractmethod
    def _slow_object(self, call: Call) -> dict[str, Any]:
        """As `_object`, for an answer that hosts may be asked for."""

    @abstractmethod
    def _remote_file(self, call: Call) -> RemoteFile:
        """The answer to a call as a file that arrives."""

    def files(self, run_id: str, *, stage: str | None = None) -> dict[str, Any]:
        """The `hostler.files/1` object: all files of a run (or of a stage, also one that runs) that
        can be fetched, in its `files`."""
        pages = [self._slow_object(calls.files(run_id, stage, 0))]
        while (after := pages[-1].get("next")) is not None:
            pages.append(self._slow_object(calls.files(run_id, stage, after)))
        return calls.all_files(pages)

    def list_folder(self, run_id: str, stage: str, path: str = "") -> dict[str, Any]:
        """The `hostler.ls/1` object: what lies in a folder of a stage, now where it runs."""
        return self._slow_object(calls.list_folder(run_id, stage, path))

    def read_file(
        self,
        run_id: str,
        stage: str,
        path: str,
        *,
        artifact: str | None = None,
        attempt: int | None = None,
        offset: int = 0,
        etag: str = "",
    ) -> RemoteFile:
        """The bytes of a file by its path in the working folder, from `offset` on where it still is
        the version of `etag`, else from its beginning."""
        return self._remote_file(
            calls.content(run_id, stage, path, artifact, attempt, offset, etag)
        )

    def note_fetched(
        self, run_id: str, stage: str, attempt_id: str, artifact: str | None
    ) -> dict[str, Any]:
        """Tell the daemon that you have all files of an artifact (None: all that an attempt left on
        its host): where something has to go, that goes first. `download` does so itself."""
        return self._object(calls.fetched(run_id, stage, attempt_id, artifact))

    def download(
        self,
        run_id: str,
        names: Sequence[str] = (),
        target: str | Path = ".",
        *,
        stage: str | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Fetched, ...]:
        """Fetch files of a run into a folder: outputs and files of these names or globs, else all.

        It goes on where a cut left it, checks every digest, and replaces no file that is there but
        with `force`. Raises NotFoundError, ConflictError, and what the daemon answers.
        """
        from hostler.client.fetch import Fetcher
        from hostler.client.fetch_target import Target

        found = self.files(run_id, stage=stage)
        fetcher = Fetcher(self, run_id, progress, self.revive)
        return fetcher.fetch(found["files"], names, Target(target), force=force)
