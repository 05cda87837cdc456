"""Receives an image with all its layers from a host by `docker save`, if it cannot be pushed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from urllib.parse import quote

from hostler.base.errors import EngineError, HostlerError, InputError
from hostler.model.timings import DEFAULT, RuntimeTimings
from hostler.ports import ImageLink, Progress
from hostler.runtimes.docker.http import request
from hostler.runtimes.docker.images.manifest import MOST_MANIFEST, is_index
from hostler.runtimes.docker.images.receiver import IsFull, check_room, never_full
from hostler.runtimes.docker.images.saved import Member, SavedTar, index_of, manifest_of
from hostler.runtimes.docker.images.taken import Sought
from hostler.store.content import ContentStore, Partial
from hostler_agent.json_values import items, string, table

_LISTS = ("index.json", "manifest.json")
_MOST_INDEXED = 64


async def save(
    link: ImageLink, sought: Sought, image: str, content: ContentStore, most_bytes: int,
    progress: Progress, timings: RuntimeTimings = DEFAULT.runtimes, is_full: IsFull = never_full,
) -> tuple[dict[str, bytes], str]:  # fmt: skip
    """Receive an image; returns its manifests, and the digest of the top one. Raises
    EngineError."""
    what, came = f"copying image {image} from {link.host}", 0
    intake = Intake(content)
    path = f"/images/{quote(sought.image_id)}/get"
    try:
        async with request(link, "GET", path, timings=timings) as response:
            async for piece in response.body():
                came += len(piece)
                check_room(came, most_bytes, is_full)
                await asyncio.to_thread(intake.take, piece)
                progress(what, came, None)
        return await asyncio.to_thread(intake.manifests)
    except InputError as error:
        raise EngineError(link.host, f"{what}: {error.message}", remedy=error.remedy) from error
    finally:
        intake.close()


class Intake:
    """Puts the parts of a saved image into the content store. Blocks: call it in a thread."""

    def __init__(self, content: ContentStore) -> None:
        self._content = content
        self._tar = SavedTar()
        self._key = f"save-{secrets.token_hex(8)}"
        self._member: Member | None = None
        self._partial: Partial | None = None
        self._lists: dict[str, bytes] = {}
        self._parts: dict[str, tuple[str, int]] = {}
        self._links: dict[str, str] = {}

    def take(self, data: bytes) -> None:
        """Handle the next bytes of the archive. Raises InputError, StateError."""
        for event in self._tar.feed(data):
            if isinstance(event, Member):
                self._end_member()
                self._begin_member(event)
            elif self._partial is not None:
                self._partial.append(event)
            elif self._member is not None and self._member.name in _LISTS:
                self._lists[self._member.name] += event

    def manifests(self) -> tuple[dict[str, bytes], str]:
        """After the end of the archive: digest -> manifest, and the digest of the top one. Raises
        InputError."""
        self._end_member()
        if not self._tar.is_whole:
            raise InputError("the saved image was cut short")
        if "index.json" in self._lists:
            digest = index_of(self._lists["index.json"])
            return self._indexed(digest), digest
        data = manifest_of(self._lists.get("manifest.json", b""), self._parts, self._links)
        digest = self._taken(data)
        return {digest: data}, digest

    def close(self) -> None:
        """Drop unfinished files."""
        partial, self._partial = self._partial, None
        if partial is not None:
            with contextlib.suppress(HostlerError):
                partial.discard()

    def _begin_member(self, member: Member) -> None:
        self._member = member
        if member.link is not None:
            self._links[member.name] = member.link
        elif member.name in _LISTS:
            if member.size > MOST_MANIFEST:
                raise InputError("the list of its parts is too long")
            self._lists[member.name] = b""
        elif member.is_part:
            self._partial = self._content.partial(self._key)

    def _end_member(self) -> None:
        member, partial = self._member, self._partial
        self._member = self._partial = None
        if member is None or partial is None:
            return
        if partial.size != member.size:
            partial.discard()
            raise InputError("the saved image was cut short")
        size = partial.size
        self._parts[member.name] = (partial.finish(member.digest), size)

    def _indexed(self, digest: str) -> dict[str, bytes]:
        found = {digest: self._read(digest)}
        if is_index(found[digest]):
            listed = items(table(json.loads(found[digest])).get("manifests"))[:_MOST_INDEXED]
            for entry in listed:
                one = (string(table(entry).get("digest")) or "").removeprefix("sha256:")
                if f"blobs/sha256/{one}" in self._parts:
                    found[one] = self._read(one)
        return found

    def _read(self, digest: str) -> bytes:
        if f"blobs/sha256/{digest}" not in self._parts:
            raise InputError("the saved image lacks its manifest")
        if self._content.size(digest) > MOST_MANIFEST:
            raise InputError("it has too large a manifest")
        return self._content.path(digest).read_bytes()

    def _taken(self, data: bytes) -> str:
        with self._content.partial(self._key) as partial:
            partial.restart()
            partial.append(data)
            return partial.finish()
