"""Images of tests, as the bytes of their parts."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hostler.runtimes.docker.images.manifest import Config, Manifest, read_config, read_manifest

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def layer(files: Mapping[str, bytes]) -> bytes:
    """A plain tar, the same for the same files."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def manifest_value(config: bytes, blobs: Sequence[bytes], **changes: Any) -> dict[str, Any]:
    """A manifest as an object, with these keys changed."""
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": f"sha256:{sha256(config)}",
            "size": len(config),
        },
        "layers": [
            {"mediaType": LAYER, "digest": f"sha256:{sha256(blob)}", "size": len(blob)}
            for blob in blobs
        ],
    }
    return value | changes


@dataclass(frozen=True)
class MadeImage:
    """An image and all that it consists of."""

    manifest: Manifest
    config: Config
    config_data: bytes
    blobs: Mapping[str, bytes]
    """Digest -> bytes, of the configuration and the layers."""


def make_image(
    *layers: Mapping[str, bytes] | bytes, architecture: str = "amd64", **settings: Any
) -> MadeImage:
    """An image with these layers, lowest first, each as files or as a tar; `settings` go into its
    configuration."""
    tars = [each if isinstance(each, bytes) else layer(each) for each in layers]
    packed = [gzip.compress(tar, mtime=0) for tar in tars]
    config = json.dumps(
        {
            "os": "linux",
            "architecture": architecture,
            "config": {"Cmd": ["/bin/sh"], **settings},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(tar)}" for tar in tars]},
        }
    ).encode()
    manifest = read_manifest(json.dumps(manifest_value(config, packed)).encode())
    blobs = {sha256(data): data for data in (config, *packed)}
    return MadeImage(manifest, read_config(config, manifest), config, blobs)
