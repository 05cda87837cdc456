"""Copies an image of the content store to a host: sends the missing layers, and the agent composes
an archive. Also limits how often progress is shown."""

from __future__ import annotations

import base64
import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from functools import partial

from hostler.base.errors import EngineError, HostError, HostFault, Unreachable
from hostler.base.failpoints import failpoint
from hostler.base.text import clean_line
from hostler.ports import ImageLink, Progress, SentBlob
from hostler.runtimes.docker.explain import engine_error
from hostler.runtimes.docker.images.archive import (
    Entry,
    archive_entries,
    missing_layers,
    shared_layers,
)
from hostler.runtimes.docker.images.ask import inspect_image, layers_of, list_images, untag
from hostler.runtimes.docker.images.manifest import Blob
from hostler.runtimes.docker.images.taken import Taken
from hostler.store.content import ContentStore
from hostler_agent.json_values import Message, Outgoing, string

_INLINE = 256 * 1024
"""Most bytes of a file that is sent with the list; larger ones use the host's cache."""
_MOST_IMAGES = 500
_TOLD_EVERY = 0.5
_NO_ANSWER = 503
"""The agent's status if Docker ended or was killed."""


class Told:
    """Reports progress at intervals: how much of an image has arrived."""

    def __init__(self, what: str, progress: Progress, every: float = _TOLD_EVERY) -> None:
        self._what, self._progress, self._every = what, progress, every
        self._at = -math.inf

    def __call__(self, there: int, total: int, before: int = 0) -> None:
        """Report `there` bytes of one layer after `before` bytes of earlier layers."""
        now, done = time.monotonic(), before + there
        if now - self._at >= self._every or done in (0, total):
            self._at = now
            self._progress(self._what, done, total)


class Loader:
    """Loads images on hosts. Caches the layers of images that hosts have: an image with the same id
    never changes."""

    def __init__(self, content: ContentStore) -> None:
        self._content = content
        self._layers: dict[tuple[str, str], tuple[str, ...]] = {}

    async def load(
        self, link: ImageLink, taken: Taken, name: str, progress: Progress, what: str = ""
    ) -> str:
        """Load an image under a name; returns its id in the host's Docker. Existing layers are not
        sent. Raises EngineError, Unreachable. `what`: its name for people."""
        there = await self._there(link, taken, name)
        if there is not None:
            return there
        shared = shared_layers(taken.config.diff_ids, await self._chains(link))
        told = Told(f"copying image {what or name} to {link.host}", progress)
        try:
            return await self._load(link, taken, name, shared, told)
        except EngineError as error:
            # A layer was removed meanwhile, or the engine requires layers that it already has.
            with contextlib.suppress(HostError):
                await untag(link, name)
            if not shared or isinstance(error, HostFault):
                raise
        return await self._load(link, taken, name, 0, told)

    async def _load(self, link: ImageLink, taken: Taken, name: str, shared: int, told: Told) -> str:
        missing = missing_layers(taken.manifest, shared)
        entries = archive_entries(taken.manifest, taken.config, taken.config_data, name, missing)
        blobs = [*self._layers_sent(missing, told), *self._others_sent(entries)]
        for line in await _said(link, name, [_asked(entry) for entry in entries], blobs):
            if "error" in line:
                said = clean_line(str(line["error"]), 500)
                raise engine_error(link.host, f"loading {name}", 0, said)
        there = await self._there(link, taken, name)
        if there is None:
            raise EngineError(link.host, f"Docker on {link.host} loaded {name} as another image")
        return there

    def _layers_sent(self, missing: Sequence[Blob], told: Told) -> Iterator[SentBlob]:
        total, before = sum(blob.size for blob in missing), 0
        told(0, total)
        for blob in missing:
            sent = partial(told, total=total, before=before)
            before += blob.size
            done = partial(_sent, told, before, total)
            yield SentBlob(blob.digest, self._content.path(blob.digest), blob.size, sent, done)

    def _others_sent(self, entries: Sequence[Entry]) -> Iterator[SentBlob]:
        """Files other than layers that are too large to be sent with the list."""
        for entry in entries:
            if entry.digest is None and entry.size > _INLINE:
                path = self._content.path(_digest_of(entry))
                yield SentBlob(_digest_of(entry), path, entry.size, lambda _there: None, _nothing)

    async def _there(self, link: ImageLink, taken: Taken, name: str) -> str | None:
        found = await inspect_image(link, name)
        image = string((found or {}).get("Id")) or ""
        return image if image.removeprefix("sha256:") in taken.ids else None

    async def _chains(self, link: ImageLink) -> list[tuple[str, ...]]:
        """The layers of each image of the host, lowest first."""
        told = [string(image.get("Id")) for image in await list_images(link)]
        images = [image for image in told[:_MOST_IMAGES] if image]
        found = [await self._of(link, image) for image in images]
        for key in [key for key in self._layers if key[0] == link.host and key[1] not in images]:
            self._layers.pop(key, None)  # old entries must not accumulate
        return [chain for chain in found if chain]

    async def _of(self, link: ImageLink, image: str) -> tuple[str, ...]:
        known = self._layers.get((link.host, image))
        if known is None:
            known = self._layers[link.host, image] = layers_of(
                await inspect_image(link, image) or {}
            )
        return known


def _sent(told: Told, done: int, total: int) -> None:
    failpoint("after_image_put")
    told(done, total)


def _nothing() -> None:
    """For a file whose progress is not reported."""


def _digest_of(entry: Entry) -> str:
    return entry.name.rpartition("/")[2]


def _asked(entry: Entry) -> Outgoing:
    if entry.digest is None and entry.size <= _INLINE:
        return {"name": entry.name, "data": base64.b64encode(entry.data).decode()}
    return {"name": entry.name, "digest": entry.digest or _digest_of(entry), "size": entry.size}


async def _said(
    link: ImageLink, name: str, asked: Sequence[Outgoing], blobs: Sequence[SentBlob]
) -> list[Message]:
    """Docker's output about an archive. Raises Unreachable if Docker stops answering, so that the
    load is repeated later; EngineError if it refuses, or HostFault if the image is not the cause,
    such as a full disk."""
    try:
        return await link.load_image(asked, blobs)
    except EngineError as error:
        if error.status == _NO_ANSWER:
            why = f"Docker there ended while it loaded {name}: {error.message}"
            raise Unreachable(link.host, why) from error
        raise engine_error(
            link.host, f"loading {name}", error.status or 0, error.message
        ) from error
