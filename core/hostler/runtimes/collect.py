"""Outputs: from a workload that has ended into the content store, resumed where a cut left them."""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from collections.abc import AsyncIterator
from dataclasses import dataclass

from hostler.errors import AgentError, EngineError, InputError, NotFoundError
from hostler.model.hosts import Workload
from hostler.ports import ArchiveSource, HostLink
from hostler.runtimes.contract import relative
from hostler.store.archives import ArchiveCaps, normalise
from hostler.store.content import ContentStore, Partial
from hostler.store.listing import listing_of, write_listing
from hostler.units import MIB, format_size

_ROOT_NAME = "work"
"""How Docker calls the working folder itself in an archive of it."""

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
    """Of the content alone, wherever and whenever it was packed."""
    index: str
    """Digest of the list of what is in it."""


async def collect_output(
    link: HostLink, workload: Workload, path: str, content: ContentStore, limit: int
) -> Collected:
    """Take the folder or file `path` (relative to the working folder) of an ended workload.

    Raises Unreachable when cut: called again, it goes on where it stopped. Raises NotFoundError
    where there is no such output, InputError where it is over `limit` bytes or holds what is
    refused, EngineError where it cannot be read.
    """
    inside = relative(path)
    source = ArchiveSource(workload.attempt_id, workload.runtime, workload.ref, inside)
    key = hashlib.sha256(f"{workload.attempt_id}\0{inside}".encode()).hexdigest()
    with await _opened(content, f"output-{key}") as partial:
        try:
            await _receive(link, source, partial, limit)
        except NotFoundError:
            partial.discard()
            raise
        return await asyncio.to_thread(_take_in, partial, _prefix(source), content, limit)


async def _opened(content: ContentStore, key: str) -> Partial:
    """The partial file, read in a thread; not left open where nobody waits for it any more."""
    opening = asyncio.ensure_future(asyncio.to_thread(content.partial, key))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise


def _close(opening: asyncio.Future[Partial]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


async def _receive(link: HostLink, source: ArchiveSource, partial: Partial, limit: int) -> None:
    for _ in range(_TRIES):
        stream = link.read_archive(source, partial.size)
        await _append(link, stream, partial, source.path, limit)
        # The host hashes what it sends; it tells so at the end, where it can.
        expected = getattr(stream, "sha256", None)
        if expected is None or expected == partial.digest:
            return
        # What lay here is the beginning of something else. It cannot be continued.
        partial.restart()
    raise EngineError(
        link.host,
        f"output {source.path or '.'} changes while it is read",
        remedy="something still writes to it: have the stage wait for its children",
    )


async def _append(
    link: HostLink, stream: AsyncIterator[bytes], partial: Partial, path: str, limit: int
) -> None:
    # Headers and padding of the tar come on top of the content.
    most = limit + limit // 8 + MIB
    try:
        async for data in stream:
            # Not in a thread: it lands in the page cache, and a hop per piece would cost more.
            partial.append(data)
            if partial.size > most:
                partial.discard()
                raise InputError(
                    f"output {path or '.'} is over the limit of {format_size(limit)}",
                    remedy="keep less in it, or raise limits.output_size in the config",
                )
    except AgentError as error:
        # A stage that did not write its output is the stage's fault, not the agent's.
        raise EngineError(link.host, error.message, remedy=error.remedy) from error
    except EngineError as error:
        if error.status == 404 and _NO_FILE in error.message:
            raise NotFoundError(f"there is no {path} in the working folder") from error
        raise
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


def _prefix(source: ArchiveSource) -> str:
    """What all names in the archive begin with: Docker's own archives name the folder itself."""
    if source.runtime != "docker":
        return ""
    return posixpath.basename(source.path) or _ROOT_NAME


def _take_in(partial: Partial, prefix: str, content: ContentStore, limit: int) -> Collected:
    clean = partial.path.with_name(f"{partial.path.name}.tar")
    clean.unlink(missing_ok=True)
    try:
        manifest, digest, size = normalise(partial.path, clean, prefix, ArchiveCaps(size=limit))
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
