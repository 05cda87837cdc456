"""Decides from which host an image is taken for one that cannot pull it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hostler.base.errors import InputError
from hostler.base.text import shown

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_NEVER = ("..", "//", "/.")
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Holder:
    """A host that has an image under the name that was asked for."""

    host: str
    image_id: str
    layers: tuple[str, ...]
    """As plain tars, lowest first: equal in all image stores."""
    created: str
    """When it was built, as its configuration says."""


def check_name(image: str) -> None:
    """Raise InputError for what can be no name or id of an image: it becomes part of the paths by
    which Dockers are asked."""
    is_odd = any(part in image for part in _NEVER)
    if len(image) > _LONGEST or is_odd or not _NAME.fullmatch(image):
        raise InputError(
            f"{shown(image)} is not the name of an image",
            remedy="names look like lab/train:3, registry:5000/lab/train:3 or sha256:DIGEST",
        )


def choose_holder(image: str, holders: Sequence[Holder]) -> Holder | None:
    """The first of them; None where there is none. Raises InputError where the name means different
    images on different hosts: which one is meant, only a person knows."""
    if not holders:
        return None
    first = holders[0]
    for other in holders[1:]:
        if not is_same(first, other):
            raise InputError(
                f"{image} is one image on {first.host} and another one on {other.host}",
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
    """Whether an image with these digests is the one that a name by digest asks for; any is, where
    it has no digest."""
    _, at, digest = image.partition("@sha256:")
    if not at and image.startswith("sha256:"):
        digest = image.removeprefix("sha256:")
    return not digest or any(each.startswith(digest) for each in ids)
