"""Requests from a host's Docker the list of its images and its platform, and sets and removes
Hostler's image names there."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote

from hostler.base.errors import EngineError, InputError
from hostler.ports import HostLink
from hostler.runtimes.docker.http import request
from hostler.runtimes.docker.images.manifest import MOST_LAYERS, digest_of
from hostler_agent.json_values import Json, Message, items, string, strings, table

_MOST_ANSWER = 16 * 1024 * 1024
_WITHIN = 60.0
_NO_SUCH, _IN_USE = 404, 409


async def inspect_image(link: HostLink, image: str) -> Message | None:
    """Docker's description of an image; None: Docker has no such image."""
    try:
        found = await _get(link, f"/images/{quote(image)}/json")
    except EngineError as error:
        if error.status == 404:
            return None
        raise
    return found if isinstance(found, dict) else None


async def platform_of(link: HostLink) -> str:
    """The platform of its Docker, like "linux/amd64"; "" if unknown."""
    found = table(await _get(link, "/version"))
    os, architecture = string(found.get("Os")), string(found.get("Arch"))
    return f"{os}/{architecture}" if os and architecture else ""


async def list_images(link: HostLink) -> list[Message]:
    """All images of a host, in short form."""
    return [table(each) for each in items(await _get(link, "/images/json"))]


async def tag(link: HostLink, image: str, name: str) -> None:
    """Give an image another name, which belongs to Hostler."""
    repository, _, last = name.rpartition(":")
    path = f"/images/{quote(image)}/tag"
    async with request(link, "POST", path, {"repo": repository, "tag": last}):
        pass


async def untag(link: HostLink, name: str, *, prune: bool = False) -> bool:
    """Remove one of Hostler's names; returns whether it no longer exists. Without `prune` the
    layers stay. An image that a container uses stays without an error."""
    try:
        path = f"/images/{quote(name)}"
        async with request(link, "DELETE", path, {} if prune else {"noprune": "1"}):
            return True
    except EngineError as error:
        if error.status not in (_NO_SUCH, _IN_USE):
            raise
        return error.status == _NO_SUCH


async def untag_all(
    link: HostLink, is_doomed: Callable[[str], bool], *, prune: bool = False
) -> int:
    """Remove all image names for which `is_doomed` is true; returns how many were removed."""
    tags = {tag for image in await list_images(link) for tag in strings(image.get("RepoTags"))}
    doomed = sorted(filter(is_doomed, tags))
    return sum([await untag(link, name, prune=prune) for name in doomed])


def layers_of(found: Message) -> tuple[str, ...]:
    """The layers of an image in Docker's description, lowest first; empty if they are too many or
    invalid. They are kept in memory, and a host could report millions."""
    layers = items(table(found.get("RootFS")).get("Layers"))
    try:
        return tuple(map(digest_of, layers)) if len(layers) <= MOST_LAYERS else ()
    except InputError:
        return ()


async def _get(link: HostLink, path: str) -> Json:
    async with request(link, "GET", path) as response:
        text = await response.text(_WITHIN, _MOST_ANSWER)
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EngineError(link.host, f"Docker's answer to {path} cannot be read") from error
    return value
