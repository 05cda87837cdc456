"""Decides which layers of an image a host lacks, the content of the archive for it, and the names
of delivered and built images. Pure.

The archive is an OCI layout with Docker's `manifest.json`. Docker's classic image store reads that
file, its containerd store reads the layout. Both accept an archive without the layers that they
already have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hostler.model.images import repository
from hostler.runtimes.docker.images.manifest import Blob, Config, Manifest
from hostler_agent.json_values import Outgoing

_ODD = re.compile(r"[^a-z0-9]+")
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the archive: either `data`, or the blob with this digest."""

    name: str
    size: int
    data: bytes = b""
    digest: str | None = None


def shared_layers(diff_ids: Sequence[str], others: Iterable[Sequence[str]]) -> int:
    """How many of the lowest layers the host has in one of its images. A layer counts only together
    with all layers below it, because Docker identifies a layer by the whole chain."""
    return max((_common(diff_ids, other) for other in others), default=0)


def missing_layers(manifest: Manifest, shared: int) -> tuple[Blob, ...]:
    """The layers above the shared ones, without duplicates."""
    return tuple({blob.digest: blob for blob in manifest.layers[shared:]}.values())


def names_of_built(daemon_id: str) -> str:
    """The prefix of the names of images that runs built; run and stage follow."""
    return f"hostler/{daemon_id[:8]}/"


def names_of(daemon_id: str) -> str:
    """The prefix of the names of all images that a daemon has delivered."""
    return f"{names_of_built(daemon_id)}copy/"


def local_name(daemon_id: str, image: str, config: str) -> str:
    """The name of a delivered image on its host. Each content has its own name, so a delivery never
    moves an existing name to another image."""
    name = repository(image).rpartition("/")[2]
    plain = _ODD.sub("-", name.lower()).strip("-")[:_LONGEST_NAME].strip("-") or "image"
    return f"{names_of(daemon_id)}{plain}:{config[:16]}"


def archive_entries(
    manifest: Manifest, config: Config, config_data: bytes, name: str, missing: Sequence[Blob]
) -> tuple[Entry, ...]:
    """The files of the archive, in order. `missing`: the layers that it must contain."""
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": manifest.kind,
                "digest": f"sha256:{manifest.digest}",
                "size": len(manifest.data),
                "annotations": {
                    "io.containerd.image.name": f"docker.io/{name}",
                    "org.opencontainers.image.ref.name": name.rpartition(":")[2],
                },
                "platform": {"os": config.os, "architecture": config.architecture},
            }
        ],
    }
    classic = [
        {
            "Config": _path(manifest.config.digest),
            "RepoTags": [name],
            "Layers": [_path(layer.digest) for layer in manifest.layers],
        }
    ]
    return (
        _inline("oci-layout", _json({"imageLayoutVersion": "1.0.0"})),
        _inline("index.json", _json(index)),
        _inline("manifest.json", json.dumps(classic).encode()),
        _inline(_path(manifest.digest), manifest.data),
        _inline(_path(manifest.config.digest), config_data),
        *(Entry(_path(blob.digest), blob.size, digest=blob.digest) for blob in missing),
    )


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _path(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _inline(name: str, data: bytes) -> Entry:
    return Entry(name, len(data), data)


def _json(value: Outgoing) -> bytes:
    return json.dumps(value).encode()
