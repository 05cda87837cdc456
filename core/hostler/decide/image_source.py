"""From which host an image is copied to one that cannot pull it: valid image names, trusted hosts,
platforms. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from hostler.base.errors import InputError
from hostler.base.text import clean_line, shown

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_PINNED = re.compile(r"(.*@)?sha256:[0-9a-f]{64}", re.DOTALL)
_NEVER = ("..", "//", "/.")
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Holder:
    """A host that has an image under the requested name."""

    host: str
    image_id: str
    layers: tuple[str, ...]
    """Its layers by the digests of their plain tars, the lowest first: these are equal in all image
    stores."""
    created: str
    """When it was built, as its configuration says."""
    platform: str = ""
    """Its platform, like "linux/amd64"; "": unknown."""


def check_name(image: str) -> None:
    """Raise InputError if this cannot be the name or id of an image: the name becomes part of paths
    in requests to Docker."""
    is_odd = any(part in image for part in _NEVER)
    if len(image) > _LONGEST or is_odd or not _NAME.fullmatch(image):
        raise InputError(
            f"{shown(image)} is not the name of an image",
            remedy="names look like lab/train:3, registry:5000/lab/train:3 or sha256:DIGEST",
        )


def is_pinned(image: str) -> bool:
    """Whether the name has or is a digest: the received image can then be compared with it."""
    return _PINNED.fullmatch(image) is not None


def offering(image: str, holders: Sequence[Holder], offers: Sequence[str]) -> list[Holder]:
    """The hosts that are trusted to supply the image. If it has a digest, any host may. If it has
    only a name, only the hosts in `offers` (globs), because every user of a host's Docker can give
    any image any name. Raises InputError if only other hosts have it."""
    found = [holder for holder in holders if is_pinned(image) or may_offer(holder.host, offers)]
    if holders and not found:
        host = holders[0].host
        raise InputError(
            f"{host} has an image {image}, but this daemon accepts images from there only by id",
            remedy=f"name it by its id (on {host}: docker images --no-trunc), build it in a stage, "
            f'or let the daemon\'s owner add "{host}" to deliver_from under [docker]',
        )
    return found


def may_offer(host: str, offers: Sequence[str]) -> bool:
    """Whether a host is trusted to say which image a name means."""
    return any(fnmatchcase(host, glob) for glob in offers)


def fitting(image: str, holders: Sequence[Holder], target: str, platform: str) -> list[Holder]:
    """The holders whose image runs on that machine. Raises InputError if all images are for other
    platforms."""
    found = [holder for holder in holders if fits_platform(holder.platform, platform)]
    if holders and not found:
        raise other_platform(image, holders[0].platform, target, platform)
    return found


def fits_platform(image: str, machine: str) -> bool:
    """Whether an image for one platform runs on a machine; an unknown platform counts as
    suitable."""
    unknown = not machine or not image or image.endswith("/")
    return unknown or image == machine


def other_platform(image: str, platform: str, target: str, machine: str) -> InputError:
    """The error if an image is for another platform than a host."""
    platform, machine = clean_line(platform, 40), clean_line(machine, 40)
    return InputError(
        f"image {image} is for {platform}, and {target} is a machine for {machine}",
        remedy=f'build it for {machine}, or name hosts: resources = {{ host = ["..."] }}',
    )


def choose_holder(image: str, holders: Sequence[Holder]) -> Holder | None:
    """The first holder; None if there is none. Raises InputError if the name means different images
    on different hosts: a person has to choose."""
    if not holders:
        return None
    first = holders[0]
    for other in holders[1:]:
        if not is_same(first, other):
            raise InputError(
                f"{image} is not the same image on {first.host} and {other.host}",
                remedy="name it by its id (docker images --no-trunc), or give it one tag "
                "for each content",
            )
    return first


def is_same(one: Holder, other: Holder) -> bool:
    """Whether two hosts have the same image. Its id differs between image stores."""
    if one.image_id == other.image_id:
        return True
    return bool(one.layers) and (one.layers, one.created) == (other.layers, other.created)


def fits_name(image: str, ids: frozenset[str]) -> bool:
    """Whether an image with these digests has the digest in the name `image`. True for every image
    if the name has no digest."""
    _, at, digest = image.partition("@sha256:")
    if not at and image.startswith("sha256:"):
        digest = image.removeprefix("sha256:")
    return not digest or any(each.startswith(digest) for each in ids)
