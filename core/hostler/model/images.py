"""Parses names of container images: `[registry/]name[:tag]` and `name@sha256:...`."""

from __future__ import annotations

import re
from collections.abc import Sequence

_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_USUAL = ("docker.io/library/", "index.docker.io/library/", "docker.io/", "index.docker.io/")


def repository(image: str) -> str:
    """The name without tag and digest, as the person wrote it."""
    name = image.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(":")[0]


def same_repository(one: str, other: str) -> bool:
    """Whether two images come from the same place. Docker and Podman write Docker Hub's names in
    different lengths."""
    return _short(repository(one)) == _short(repository(other))


def by_digest(image: str, known: str) -> str | None:
    """`image` by the digest of `known`, which an engine reported for it; None where that one names
    no digest of a registry's, or another repository's."""
    _, _, digest = known.partition("@")
    if not _DIGEST.fullmatch(digest) or not same_repository(image, known):
        return None
    return f"{repository(image)}@{digest}"


def choose_digest(image: str, known: Sequence[str]) -> str | None:
    """Of all digests that an engine knows of one image the one to go by, who asked for `image`."""
    if image in known:
        return image
    return next((one for one in known if same_repository(image, one)), known[0] if known else None)


def _short(name: str) -> str:
    for start in _USUAL:
        if name.startswith(start):
            return name.removeprefix(start)
    return name.removeprefix("library/")
