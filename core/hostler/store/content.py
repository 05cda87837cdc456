"""The content store: blobs by SHA-256 in `content/AA/DIGEST`, partial uploads in `partial/KEY`.

All methods block while the disk works: call them in a thread if files are large.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterable
from itertools import chain
from pathlib import Path
from types import TracebackType

from hostler.base.errors import ConflictError, InputError, NotFoundError
from hostler.store.faults import disk_faults
from hostler.store.files import private_folder, sync_folder

CONTENT = "content"
"""Its folder within the state folder."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_CHUNK = 1024 * 1024


def blobs_in(content: Path) -> dict[str, tuple[int, float]]:
    """Digest -> (bytes, time of storing) of every blob in a content folder; empty if the folder
    does not exist. Raises StateError."""
    with disk_faults(content):
        return {
            blob.name: (found.st_size, found.st_mtime)
            for group in (content.iterdir() if content.is_dir() else ())
            for blob in group.iterdir()
            if _DIGEST.fullmatch(blob.name)
            for found in (blob.stat(),)
        }


class ContentStore:
    """The daemon's files: source snapshots, collected outputs. A stored file never changes."""

    def __init__(self, state: Path) -> None:
        self._folder = private_folder(state / CONTENT)
        self._partial = private_folder(state / "partial")

    def has(self, digest: str) -> bool:
        """Whether the blob is stored. Raises InputError if this is not a digest."""
        return self._place(digest).exists()

    def path(self, digest: str) -> Path:
        """The blob's file, which must not be changed. Raises NotFoundError."""
        place = self._place(digest)
        if not place.exists():
            raise NotFoundError(f"content {digest[:12]} does not exist (any more)")
        return place

    def size(self, digest: str) -> int:
        """The blob's size in bytes. Raises NotFoundError."""
        return self.path(digest).stat().st_size

    def partial(self, key: str) -> Partial:
        """A file being received; an earlier transfer is resumed. `key` is a digest, or a name that
        the caller gives the transfer. Raises ConflictError while another task receives it."""
        if not _KEY.fullmatch(key):
            raise InputError(f"{key!r} cannot name a transfer")
        return Partial(self, self._partial / key)

    def adopt(self, temporary: Path, digest: str | None = None) -> str:
        """Move a complete file into the store; returns its digest. It is durable when this returns.

        Raises InputError, and leaves the file, if its content does not have this digest.
        """
        with disk_faults(temporary):
            descriptor = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        if digest is not None and found != digest:
            raise InputError(
                f"{temporary.name} has the digest {found[:12]}, not {digest[:12]}",
                remedy="send it again",
            )
        self._take(temporary, found)
        return found

    def sizes(self) -> dict[str, tuple[int, float]]:
        """Digest -> (bytes, time of storing) of every blob."""
        return blobs_in(self._folder)

    def names(self) -> set[str]:
        """The names of all files in the store: digests, and possibly other files there."""
        with disk_faults(self._folder):
            return set(chain.from_iterable(map(self._names, self._names(""))))

    def sizes_of(self, digests: Iterable[str]) -> dict[str, tuple[int, float]]:
        """Digest -> (bytes, time of storing) of those of these blobs that are stored."""
        found: dict[str, tuple[int, float]] = {}
        for digest in filter(_DIGEST.fullmatch, digests):
            place = self._place(digest)
            with disk_faults(place), contextlib.suppress(FileNotFoundError):
                status = place.stat()
                found[digest] = (status.st_size, status.st_mtime)
        return found

    def _names(self, group: str) -> list[str]:
        return os.listdir(self._folder / group)  # noqa: PTH208 (a third of the time)

    def remove(self, digests: Collection[str]) -> int:
        """Delete blobs; returns the freed bytes. Missing ones are ignored."""
        freed = 0
        for digest in filter(_DIGEST.fullmatch, digests):
            place = self._place(digest)
            with disk_faults(place), contextlib.suppress(FileNotFoundError):
                size = place.stat().st_size
                place.unlink()
                freed += size
        return freed

    def abandoned(self, before: float) -> dict[str, int]:
        """Partial files without new data since `before`, with their sizes."""
        found = {}
        for path in self._partial.iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if status.st_mtime < before:
                    found[path.name] = status.st_size
        return found

    def remove_abandoned(self, before: float) -> int:
        """Delete such files, except those that a task receives now; returns the freed bytes. A
        later transfer of a deleted file starts from its beginning."""
        freed = 0
        for name in self.abandoned(before):
            with (
                contextlib.suppress(FileNotFoundError, ConflictError),
                self.partial(name) as partial,
            ):
                freed += partial.size
                partial.discard()
        return freed

    def _place(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise InputError(f"{digest!r} is not a SHA-256 digest")
        return self._folder / digest[:2] / digest

    def _take(self, temporary: Path, digest: str) -> None:
        """Sync a file whose digest is known, and move it to its place."""
        place = self._place(digest)
        with disk_faults(temporary):
            if place.exists():
                # It was stored again: with a new time, a running gc does not remove it.
                os.utime(place)
                temporary.unlink()
                return
            if not place.parent.exists():
                private_folder(place.parent)
                sync_folder(self._folder)
            temporary.chmod(0o600)
            os.utime(temporary)
            _sync_file(temporary)
            try:
                temporary.replace(place)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy_in(temporary, place)
            sync_folder(place.parent)

    def _copy_in(self, temporary: Path, place: Path) -> None:
        """Copy a file from another disk: into a file beside its place, sync, rename."""
        beside = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            with temporary.open("rb") as source, beside.open("xb") as target:
                beside.chmod(0o600)
                shutil.copyfileobj(source, target, _CHUNK)
                target.flush()
                os.fsync(target.fileno())
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)
        temporary.unlink()


class Partial:
    """A file being received. Close it, or use it as a context manager; the received bytes remain
    for a later transfer."""

    def __init__(self, store: ContentStore, path: Path) -> None:
        self._store = store
        self.path = path
        with disk_faults(path):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.fdopen(os.open(path, flags, 0o600), "a+b", buffering=0)
        try:
            self._lock()
            self._sha256 = hashlib.sha256()
            self.size = 0
            self._read_what_is_there()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Partial:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes received so far."""
        return self._sha256.hexdigest()

    def append(self, data: bytes) -> None:
        """Add bytes at the end. Raises StateError if the disk is full; `size` is then still
        correct."""
        with disk_faults(self.path):
            rest = memoryview(data)
            while rest:
                written = self._file.write(rest)
                self._sha256.update(rest[:written])
                self.size += written
                rest = rest[written:]

    def restart(self) -> None:
        """Drop the received bytes, because the file has changed at its source."""
        with disk_faults(self.path):
            self._file.truncate(0)
        self._sha256, self.size = hashlib.sha256(), 0

    def finish(self, digest: str | None = None) -> str:
        """Move the complete file into the content store, and close this; returns its digest.

        Raises InputError if the content does not have this digest. The received bytes are then
        deleted, because resuming would not help.
        """
        if digest is not None and digest != self.digest:
            found = self.digest
            self.discard()
            raise InputError(
                f"the received content has the digest {found[:12]}, not {digest[:12]}",
                remedy="send it again",
            )
        try:
            self._store._take(self.path, self.digest)
        finally:
            self.close()
        return self.digest

    def discard(self) -> None:
        """Delete the received bytes."""
        with disk_faults(self.path):
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"{self.path.name} is being received already", remedy="wait for it, or try again"
            ) from None

    def _read_what_is_there(self) -> None:
        with disk_faults(self.path):
            self._file.seek(0)
            while chunk := self._file.read(_CHUNK):
                self._sha256.update(chunk)
                self.size += len(chunk)


async def open_partial(content: ContentStore, key: str) -> Partial:
    """Like `ContentStore.partial`, in a thread; the file is closed if the caller is cancelled."""
    opening = asyncio.ensure_future(asyncio.to_thread(content.partial, key))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise


def _close(opening: asyncio.Future[Partial]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
