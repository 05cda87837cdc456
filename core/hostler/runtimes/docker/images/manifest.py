"""Reads manifest and configuration of an image from a push or `docker save`: accepted media types,
at most 127 layers, refused images.

Pure. The bytes come from a host, which may send anything: everything except a plain image with few
layers is refused, with a reason in one sentence.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from hostler.base.errors import InputError
from hostler.base.text import clean_line
from hostler_agent.json_values import Json, Message, integer, items, string, table, tables

MOST_MANIFEST = 4 * 1024 * 1024
"""Most bytes of a manifest. Registries refuse larger ones, too."""
MOST_CONFIG = 8 * 1024 * 1024
MOST_LAYERS = 127
"""Docker runs no image with more layers."""
MOST_BYTES = 2**40

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
_MANIFESTS = (OCI_MANIFEST, _DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, _DOCKER_INDEX)
_CONFIGS = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_LAYERS = (
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob that a manifest names."""

    digest: str
    """SHA-256, 64 hexadecimal digits."""
    size: int
    kind: str
    """Its media type."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The parts of an image."""

    digest: str
    """Digest of the manifest's own bytes."""
    data: bytes
    kind: str
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """The configuration and each layer, without duplicates."""
        return tuple({blob.digest: blob for blob in (self.config, *self.layers)}.values())

    @property
    def size(self) -> int:
        """Bytes of all parts as they are sent."""
        return len(self.data) + sum(blob.size for blob in self.blobs)


@dataclass(frozen=True, slots=True)
class Config:
    """The needed fields of an image's configuration."""

    diff_ids: tuple[str, ...]
    """SHA-256 of each layer as an uncompressed tar, lowest first. It is the same in all image
    stores."""
    os: str
    architecture: str


def digest_of(text: Json) -> str:
    """The digits of `sha256:...`. Raises InputError for anything else."""
    match = _DIGEST.fullmatch(text) if isinstance(text, str) else None
    return match[1] if match else _refuse(f"{_shown(text)} is not a SHA-256 digest")


def is_index(data: bytes) -> bool:
    """Whether these bytes are a list of manifests, one per platform. Raises InputError."""
    value = _parsed(data, MOST_MANIFEST, "manifest")
    return string(value.get("mediaType")) in INDEXES or "manifests" in value


def read_manifest(data: bytes) -> Manifest:
    """A manifest from its bytes. Raises InputError."""
    value = _parsed(data, MOST_MANIFEST, "manifest")
    kind = value.get("mediaType", OCI_MANIFEST)
    if value.get("schemaVersion") != 2 or kind not in _MANIFESTS or "manifests" in value:
        _refuse(f"its manifest has the type {_shown(kind)}, which is not one of an image")
    layers = _objects(value.get("layers"), "layers")
    if len(layers) > MOST_LAYERS:
        _refuse(f"it has {len(layers)} layers; Docker runs images with at most {MOST_LAYERS}")
    manifest = Manifest(
        digest=hashlib.sha256(data).hexdigest(),
        data=data,
        kind=str(kind),
        config=_blob(value.get("config"), _CONFIGS, "configuration"),
        layers=tuple(_blob(layer, _LAYERS, "layer") for layer in layers),
    )
    _check_sizes(manifest)
    return manifest


def choose_manifest(data: bytes, os: str, architecture: str) -> Blob:
    """The manifest of an index for a platform. Raises InputError unless exactly one matches, since
    the target cannot use an image for another platform."""
    found = [
        _blob(entry, _MANIFESTS, "manifest")
        for entry in _objects(_parsed(data, MOST_MANIFEST, "index").get("manifests"), "manifests")
        if _suits(table(entry.get("platform")), os, architecture)
    ]
    distinct = {blob.digest: blob for blob in found}
    if len(distinct) == 1:
        return found[0]
    count = len(distinct) or "none"
    return _refuse(f"of the images in its index, {count} are for {os}/{architecture}")


def read_config(data: bytes, manifest: Manifest) -> Config:
    """The configuration of an image, which must match its manifest. Raises InputError."""
    if hashlib.sha256(data).hexdigest() != manifest.config.digest:
        _refuse("its configuration does not have the digest that its manifest names")
    value = _parsed(data, MOST_CONFIG, "configuration")
    ids = tuple(map(digest_of, items(table(value.get("rootfs")).get("diff_ids"))))
    if len(ids) != len(manifest.layers):
        _refuse(f"its configuration lists {len(ids)} layers, its manifest {len(manifest.layers)}")
    return Config(
        diff_ids=ids,
        os=string(value.get("os")) or "linux",
        architecture=string(value.get("architecture")) or "",
    )


def _parsed(data: bytes, most: int, what: str) -> Message:
    if len(data) > most:
        _refuse(f"its {what} has {len(data)} bytes, more than the {most} allowed")
    try:
        value = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"its {what} cannot be read: {clean_line(str(error), 100)}") from error
    return value if isinstance(value, dict) else _refuse(f"its {what} is not a JSON object")


def _unique(pairs: Sequence[tuple[str, Json]]) -> Message:
    """Refuse a duplicate name, since programs would read different values."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name occurs twice in an object")
    return value


def _objects(value: Json, what: str) -> list[Message]:
    found = tables(value)
    if not isinstance(value, list) or len(found) < len(value):
        _refuse(f"its manifest has no list of {what}")
    return found


def _blob(value: Json, kinds: Sequence[str], what: str) -> Blob:
    described = table(value)
    size, kind = integer(described.get("size")), described.get("mediaType")
    if not isinstance(kind, str) or kind not in kinds:
        _refuse(f"a {what} of it has the type {_shown(kind)}, which Hostler does not deliver")
    if described.get("urls"):
        _refuse(f"a {what} of it is at a URL, which Hostler does not fetch")
    if size is None or not 0 <= size <= MOST_BYTES:
        return _refuse(f"a {what} of it has the size {_shown(described.get('size'))}")
    return Blob(digest_of(described.get("digest")), size, kind)


def _check_sizes(manifest: Manifest) -> None:
    if manifest.config.size > MOST_CONFIG:
        _refuse(f"its configuration has {manifest.config.size} bytes, more than {MOST_CONFIG}")
    sizes: dict[str, int] = {}
    for blob in (manifest.config, *manifest.layers):
        if sizes.setdefault(blob.digest, blob.size) != blob.size:
            _refuse("its manifest names one blob with two sizes")


def _suits(platform: Message, os: str, architecture: str) -> bool:
    """Whether an entry is for this platform; attestations are for none."""
    if not platform:
        return True
    return (platform.get("os"), platform.get("architecture")) == (os, architecture)


def _shown(value: Json) -> str:
    return clean_line(json.dumps(value, default=str), 80)


def _refuse(why: str) -> NoReturn:
    raise InputError(f"the image cannot be delivered: {why}")
