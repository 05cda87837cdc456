"""Names of container images (`[registry/]name[:tag]`, `name@sha256:...`): registry, Docker Hub's
names, which two are the same image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_DIGEST = re.compile("sha256:[0-9a-f]{64}")
HUB = "docker.io"
_HUB_HOSTS = (HUB, "index.docker.io", "registry-1.docker.io")
_USUAL = ("docker.io/library/", "index.docker.io/library/", "docker.io/", "index.docker.io/")


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image whose blobs the daemon has, to be brought to hosts."""

    digest: str
    """Of its manifest, 64 hexadecimal digits."""
    name: str
    """The name in its first request."""
    host: str
    """The host it came from."""
    ids: frozenset[str]
    """Ids that engines may use for it: digests of its configuration, manifest and index."""
    blobs: Mapping[str, int]
    """Digest -> bytes of all its parts, including the manifest."""
    taken_at: float
    used_at: float

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return sum(self.blobs.values())


def repository(image: str) -> str:
    """The name without tag and digest, as the person wrote it."""
    name = image.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(":")[0]


def registry(image: str) -> str:
    """Its registry: "docker.io", or a name with a dot or a port."""
    first, slash, _ = image.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return registry_of_host(first) if is_host else HUB


def registry_of_host(host: str) -> str:
    """The registry behind this host name: Docker Hub has several host names."""
    return HUB if host.lower() in _HUB_HOSTS else host


def is_id(image: str) -> bool:
    """Whether it is the id of an image on hosts, which no registry knows."""
    return _DIGEST.fullmatch(image) is not None


def same_repository(one: str, other: str) -> bool:
    """Whether two images come from the same place. Docker and Podman write Docker Hub's names in
    different lengths."""
    return _short(repository(one)) == _short(repository(other))


def by_digest(image: str, known: str) -> str | None:
    """`image` by the digest of `known`, which an engine reported for it; None if that has no digest
    of a registry, or one of another repository."""
    _, _, digest = known.partition("@")
    if not _DIGEST.fullmatch(digest) or not same_repository(image, known):
        return None
    return f"{repository(image)}@{digest}"


def choose_digest(image: str, known: Sequence[str]) -> str | None:
    """The digest to use for the requested `image`, out of all digests that an engine knows for
    it."""
    if image in known:
        return image
    return next((one for one in known if same_repository(image, one)), known[0] if known else None)


def _short(name: str) -> str:
    for start in _USUAL:
        if name.startswith(start):
            return name.removeprefix(start)
    return name.removeprefix("library/")
