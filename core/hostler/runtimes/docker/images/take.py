"""Copies an image from a host into the content store, by a push, or by `docker save` if
no push is possible; at most 64 GiB."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hostler.base.errors import EngineError, InputError
from hostler.model.timings import DEFAULT, RuntimeTimings
from hostler.ports import ImageLink, Progress
from hostler.runtimes.docker.images.ask import inspect_image
from hostler.runtimes.docker.images.push import NoPort, push
from hostler.runtimes.docker.images.receiver import IsFull, Receiver, never_full
from hostler.runtimes.docker.images.save import save
from hostler.runtimes.docker.images.taken import Sought, Taken, keep_manifest, read_taken
from hostler.store.content import ContentStore
from hostler_agent.json_values import string

MOST_BYTES = 64 * 1024**3
"""Most bytes of one image, as it is sent."""


async def take_image(
    link: ImageLink,
    image: str,
    content: ContentStore,
    repository: str,
    is_known: Callable[[str], bool],
    came: set[str],
    progress: Progress,
    named: str = "",
    most_bytes: int = MOST_BYTES,
    timings: RuntimeTimings = DEFAULT.runtimes,
    is_full: IsFull = never_full,
) -> Taken:
    """Copy an image by its name or id. Raises EngineError with status 404 if it does not exist.
    `came`: digests of layers from interrupted pushes; those of this push are added. `named`: its
    name for people. `most_bytes`: most bytes that are accepted, while the disk is not `is_full`."""
    what = named or image
    sought = await _sought(link, image)
    try:
        receiver = Receiver(content, repository, is_known, most_bytes, came, is_full)
        digest = await push(link, sought.image_id, what, receiver, progress, timings)
        manifests = receiver.manifests
    except NoPort:
        manifests, digest = await save(
            link, sought, what, content, most_bytes, progress, timings, is_full
        )
    try:
        found = await asyncio.to_thread(read_taken, content, manifests, digest, sought)
    except InputError as error:
        raise EngineError(link.host, f"{image}: {error.message}", remedy=error.remedy) from error
    await keep_manifest(content, found.manifest)
    return found


async def _sought(link: ImageLink, image: str) -> Sought:
    found = await inspect_image(link, image)
    if found is None:
        raise EngineError(link.host, f"there is no image {image} on {link.host}", status=404)
    return Sought(
        image_id=string(found.get("Id")) or "",
        os=string(found.get("Os")) or "linux",
        architecture=string(found.get("Architecture")) or "",
    )
