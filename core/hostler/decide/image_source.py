"""Decides from which host an image is taken for one that cannot pull it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hostler.base.errors import InputError


@dataclass(frozen=True, slots=True)
class Holder:
    """A host that has an image under the name that was asked for."""

    host: str
    image_id: str
    layers: tuple[str, ...]
    """As plain tars, lowest first: equal in all image stores."""
    created: str
    """When it was built, as its configuration says."""


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
