"""Checks that a received image is the requested one and complete: its manifest for one platform,
and all its blobs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from hostler.base.errors import InputError
from hostler.runtimes.docker.images.manifest import (
    MOST_CONFIG,
    Config,
    Manifest,
    choose_manifest,
    is_index,
    read_config,
    read_manifest,
)
from hostler.store.content import ContentStore


@dataclass(frozen=True, slots=True)
class Taken:
    """An image that is completely stored here."""

    manifest: Manifest
    config: Config
    config_data: bytes
    ids: frozenset[str]
    """Its ids in engines: the digests of its configuration, manifest and index."""


@dataclass(frozen=True, slots=True)
class Sought:
    """The host's description of the requested image."""

    image_id: str
    """`sha256:...`"""
    os: str
    architecture: str


def read_taken(
    content: ContentStore, manifests: Mapping[str, bytes], digest: str, sought: Sought
) -> Taken:
    """The image with this manifest or index, from the received data. Raises InputError if it is not
    the requested image, or if a part is missing. Blocks."""
    data, ids = _manifest(manifests, digest), {digest}
    if is_index(data):
        digest = choose_manifest(data, sought.os, sought.architecture).digest
        data = _manifest(manifests, digest)
    manifest = read_manifest(data)
    for blob in manifest.blobs:
        if not content.has(blob.digest) or content.size(blob.digest) != blob.size:
            raise InputError(f"the image lacks its blob {blob.digest[:12]}")
    if manifest.config.size > MOST_CONFIG:
        raise InputError("the image has too large a configuration")
    config_data = content.path(manifest.config.digest).read_bytes()
    ids |= {manifest.digest, manifest.config.digest}
    if sought.image_id.removeprefix("sha256:") not in ids:
        raise InputError(f"received another image than {sought.image_id[:19]}")
    return Taken(manifest, read_config(config_data, manifest), config_data, frozenset(ids))


async def keep_manifest(content: ContentStore, manifest: Manifest) -> None:
    """Put the manifest into the content store, beside the blobs that it names."""
    await asyncio.to_thread(_keep, content, manifest.data)


def _keep(content: ContentStore, data: bytes) -> None:
    digest = hashlib.sha256(data).hexdigest()
    with content.partial(f"manifest-{digest}") as partial:
        partial.restart()
        partial.append(data)
        partial.finish(digest)


def _manifest(manifests: Mapping[str, bytes], digest: str) -> bytes:
    if digest not in manifests:
        raise InputError(f"the image lacks its manifest {digest[:12]}")
    return manifests[digest]
