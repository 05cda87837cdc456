"""Copies outputs from an ended workload into the content store, resumed after interruptions; the
errors of outputs that are too large, missing or changing."""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from hostler.base.errors import (
    AgentError,
    AgentGone,
    ConflictError,
    EngineError,
    InputError,
    NotFoundError,
    Unreachable,
)
from hostler.base.units import MIB, format_size
from hostler.model.hosts import Workload
from hostler.ports import ArchiveSource, HostLink
from hostler.runtimes.command import relative
from hostler.store.archives import ArchiveCaps, normalise
from hostler.store.content import ContentStore, Partial, open_partial
from hostler.store.files import require_room
from hostler.store.saved import listing_of, write_listing

_ROOT_NAME = "work"
"""Docker's name for the working folder itself in an archive of it."""

_TRIES = 2
_NO_FILE = "Could not find the file"
"""Docker answers 404 for a container that is gone, too."""


@dataclass(frozen=True, slots=True)
class Collected:
    """An output in the content store."""

    digest: str
    """SHA-256 of the tar in the content store; names in it are relative to the output."""
    size: int
    files: int
    tree_digest: str
    """SHA-256 of the content alone, independent of where and when it was packed."""
    index: str
    """Digest of the list of its content."""


Advance = Callable[[int], None]
"""Called with the number of bytes so far."""


def _silent(_done: int) -> None:
    """Reports no progress."""


async def collect_output(
    link: HostLink, workload: Workload, path: str, content: ContentStore, limit: int,
    advance: Advance = _silent,
) -> Collected:  # fmt: skip
    """Take the folder or file `path` (relative to the working folder) of an ended workload.

    Raises Unreachable when cut: called again, it resumes where it stopped. Raises NotFoundError if
    the output does not exist, InputError if it is over `limit` bytes or contains refused entries,
    EngineError if it cannot be read, AgentGone if the agent was killed.
    """
    inside = relative(path)
    source = ArchiveSource(workload.attempt_id, workload.runtime, workload.ref, inside)
    key = hashlib.sha256(f"{workload.attempt_id}\0{inside}".encode()).hexdigest()
    transfer = _Transfer(link, source, None, limit, f"output {inside or '.'}", advance)
    with await _opened(content, f"output-{key}", link.host) as partial:
        try:
            await transfer.receive(partial)
        except NotFoundError:
            partial.discard()
            raise
        caps = ArchiveCaps(size=limit)
        return await asyncio.to_thread(_take_in, partial, _prefix(source), content, caps)


async def collect_files(
    link: HostLink, source: ArchiveSource, paths: Sequence[str], content: ContentStore,
    limit: int, advance: Advance = _silent,
) -> Collected:  # fmt: skip
    """Take these files and links of an ended workload's folder. Links that lead out are left out.

    Raises as `collect_output`; called again with the same paths, it continues where it stopped.
    """
    named = hashlib.sha256(source.attempt_id.encode())
    for path in paths:
        named.update(b"\0" + path.encode("utf-8", "surrogatepass"))
    transfer = _Transfer(link, source, paths, limit, "one of the files", advance)
    with await _opened(content, f"files-{named.hexdigest()}", link.host) as partial:
        await transfer.receive(partial)
        caps = ArchiveCaps(size=limit, refuses_links_out=False)
        return await asyncio.to_thread(_take_in, partial, "", content, caps)


async def _opened(content: ContentStore, key: str, host: str) -> Partial:
    """The partial file. Raises Unreachable while another process holds it: a gc reads old ones."""
    try:
        return await open_partial(content, key)
    except ConflictError as error:
        raise Unreachable(host, error.message) from error


@dataclass(frozen=True, slots=True)
class _Transfer:
    """A transfer from a host."""

    link: HostLink
    source: ArchiveSource
    paths: Sequence[str] | None
    limit: int
    what: str
    advance: Advance

    async def receive(self, partial: Partial) -> None:
        """Receive all of it, after the part that is already in `partial`."""
        for _ in range(_TRIES):
            stream = self._stream(partial.size)
            await self._append(stream, partial)
            # The host hashes what it sends; it tells so at the end, where it can.
            expected = getattr(stream, "sha256", None)
            if expected is None or expected == partial.digest:
                return
            # What lay here is the beginning of something else. It cannot be continued.
            partial.restart()
        raise EngineError(
            self.link.host,
            f"{self.what} changed while it was read",
            remedy="a process still writes to it: make the stage wait for its child processes",
        )

    def _stream(self, offset: int) -> AsyncIterator[bytes]:
        if self.paths is None:  # only what chooses files has to know of choices
            return self.link.read_archive(self.source, offset)
        return self.link.read_archive(self.source, offset, self.paths)

    async def _append(self, stream: AsyncIterator[bytes], partial: Partial) -> None:
        # Headers and padding of the tar come on top of the content.
        most = self.limit + self.limit // 8 + MIB + 2048 * len(self.paths or ())
        try:
            async for data in stream:
                # Not in a thread: it lands in the page cache, and a hop per piece would cost more.
                require_room(partial.path.parent, len(data))
                partial.append(data)
                self.advance(partial.size)
                if partial.size > most:
                    partial.discard()
                    raise InputError(
                        f"{self.what} is larger than the limit of {format_size(self.limit)}",
                        remedy="write less to it, or raise limits.output_size in the config",
                    )
        except AgentGone:
            raise
        except AgentError as error:
            # A stage that did not write its output is the stage's fault, not the agent's.
            raise EngineError(self.link.host, error.message, remedy=error.remedy) from error
        except EngineError as error:
            if error.status == 404 and _NO_FILE in error.message:
                path = self.source.path or "folder"
                raise NotFoundError(f"there is no {path} in the working folder") from error
            raise
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()


def _prefix(source: ArchiveSource) -> str:
    """The prefix of all names in the archive: Docker's own archives name the folder itself."""
    if source.runtime != "docker":
        return ""
    return posixpath.basename(source.path) or _ROOT_NAME


def _take_in(partial: Partial, prefix: str, content: ContentStore, caps: ArchiveCaps) -> Collected:
    clean = partial.path.with_name(f"{partial.path.name}.tar")
    clean.unlink(missing_ok=True)
    require_room(clean.parent, partial.size)  # before hours of copying that end on a full disk
    try:
        manifest, digest, size = normalise(partial.path, clean, prefix, caps)
        content.adopt(clean, digest)
    except InputError:
        # Refused for what it holds: a next time must not go on with it.
        partial.discard()
        raise
    finally:
        clean.unlink(missing_ok=True)
    listing = listing_of(content.path(digest), manifest)
    index = write_listing(listing, content, f"{partial.path.name}.index")
    partial.discard()
    return Collected(digest, size, manifest.files, manifest.digest, index)
