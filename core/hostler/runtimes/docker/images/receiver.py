"""Receives the data of one push: blobs into the content store, each verified, and manifests in
memory; refuses images that are too large or do not fit the disk.

Every local user of the host can connect to the port. Without the password of this push, the only
answer is that the password is needed. With it, only an image can be sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from hostler.base.errors import ConflictError, HostlerError, InputError
from hostler.base.failpoints import failpoint
from hostler.base.units import format_size
from hostler.runtimes.docker.images.manifest import MOST_MANIFEST, is_index, read_manifest
from hostler.runtimes.docker.images.push_calls import (
    Append,
    BeginUpload,
    Call,
    Finish,
    HasBlob,
    HasManifest,
    Ping,
    PutManifest,
    may_push,
)
from hostler.store.content import ContentStore, Partial

_MOST_UPLOADS = 32
"""Most uploads at a time; Docker sends five layers at once."""
_MOST_BLOBS = 4000
"""Most blobs that a push may start to send: each is a file, and a disk has a limited number of
them."""
_MOST_MANIFESTS = 64


IsFull = Callable[[], bool]


def never_full() -> bool:
    """For callers that do not check the free space of the disk."""
    return False


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and headers, and the reason of a refusal for people."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    error: str = ""


@dataclass(slots=True)
class _Upload:
    partial: Partial
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


class Receiver:
    """Receives one push. Call `close` at the end: it drops unfinished uploads."""

    def __init__(
        self,
        content: ContentStore,
        repository: str,
        is_known: Callable[[str], bool],
        most_bytes: int,
        came: set[str] | None = None,
        is_full: IsFull = never_full,
    ) -> None:
        """`is_known`: whether a digest is a blob of an image that the daemon has, which need not be
        sent. Other content is never confirmed, because it may belong to another user. `came`: blobs
        of this push and of interrupted pushes. `is_full`: whether other data, mainly images that
        arrive at the same time, has used up the space."""
        self.password = secrets.token_urlsafe(32)
        self.manifests: dict[str, bytes] = {}
        """Digest -> received manifest."""
        self.tagged: str | None = None
        """Digest of the manifest or index with the tag, which is the image; None: not received
        yet."""
        self.refusal: str | None = None
        """The first reason of a refusal, in one sentence."""
        self.is_reached = False
        """Whether the pushing Docker has connected."""
        self.came = 0
        """Received bytes of blobs."""
        self.repository = repository
        self._root = f"/v2/{repository}"
        self._content, self._is_known, self._most = content, is_known, most_bytes
        self._is_full = is_full
        self._finished: set[str] = set() if came is None else came
        self._uploads: dict[str, _Upload] = {}
        self._closed = False
        self._manifests_asked = self._blobs_begun = 0

    def may_push(self, authorization: str) -> bool:
        """Whether a request contains the password of this push."""
        may = not self._closed and may_push(authorization, self.password)
        self.is_reached = self.is_reached or may
        return may

    def has(self, digest: str) -> bool:
        """Whether a blob arrived in this push, or is known and stored."""
        known = digest in self._finished or self._is_known(digest)
        return known and self._content.has(digest)

    async def answer(self, call: Call, body: AsyncIterator[bytes]) -> Answer:
        """Handle an authorised request."""
        try:
            return await self._answer(call, body)
        except HostlerError as error:
            return self._refused(400, error.told)

    def close(self) -> None:
        """Accept no more data, and drop unfinished uploads."""
        self._closed = True
        uploads, self._uploads = self._uploads, {}
        for upload in uploads.values():
            with contextlib.suppress(HostlerError):
                upload.partial.discard()

    async def _answer(self, call: Call, body: AsyncIterator[bytes]) -> Answer:
        match call:
            case Ping():
                return Answer(200)
            case HasBlob(digest):
                return self._has_blob(digest)
            case HasManifest(digest):
                return Answer(200 if digest in self.manifests else 404)
            case BeginUpload():
                return self._begin()
            case Append(upload):
                return await self._append(upload, body)
            case Finish(upload, digest):
                return await self._finish(upload, digest, body)
            case PutManifest(digest):
                return await self._put_manifest(digest, body)
            case _:
                return self._refused(405, "only the push of an image is served here", keep=False)

    def _has_blob(self, digest: str) -> Answer:
        if not self.has(digest):
            return Answer(404)
        return Answer(200, (*_named(digest), ("Content-Length", str(self._content.size(digest)))))

    def _begin(self) -> Answer:
        if len(self._uploads) >= _MOST_UPLOADS:
            return self._refused(429, "too many layers at once", keep=False)
        self._blobs_begun += 1
        if self._blobs_begun > _MOST_BLOBS:
            return self._refused(429, f"the image has more than {_MOST_BLOBS} blobs")
        upload = secrets.token_hex(16)
        self._uploads[upload] = _Upload(self._content.partial(f"push-{upload}"))
        return self._at(upload, 202, 0)

    async def _append(self, upload: str, body: AsyncIterator[bytes]) -> Answer:
        found = self._uploads.get(upload)
        if found is None:
            return Answer(404)
        await self._take(found, body)
        return self._at(upload, 202, found.partial.size)

    async def _finish(self, upload: str, digest: str, body: AsyncIterator[bytes]) -> Answer:
        found = self._uploads.get(upload)
        if found is None:
            return Answer(404)
        await self._take(found, body)
        self._uploads.pop(upload, None)
        finishing = asyncio.ensure_future(asyncio.to_thread(found.partial.finish, digest))
        await asyncio.shield(finishing)  # it closes the file even if this task is cancelled
        self._finished.add(digest)
        failpoint("after_image_blob")
        return Answer(201, (("Location", f"{self._root}/blobs/sha256:{digest}"), *_named(digest)))

    async def _take(self, upload: _Upload, body: AsyncIterator[bytes]) -> None:
        if upload.busy.locked():
            raise ConflictError("two requests continue one upload")
        async with upload.busy:
            async for piece in body:
                self.came += len(piece)
                check_room(self.came, self._most, self._is_full)
                await asyncio.to_thread(upload.partial.append, piece)
                if self._closed:
                    raise ConflictError("the push is over")

    async def _put_manifest(self, named: str | None, body: AsyncIterator[bytes]) -> Answer:
        self._manifests_asked += 1  # refused manifests take time, too
        if self._manifests_asked > _MOST_MANIFESTS:
            raise InputError(f"the image has more than {_MOST_MANIFESTS} manifests")
        data = await _whole(body)
        digest = hashlib.sha256(data).hexdigest()
        if named not in (None, digest):
            raise InputError("a manifest does not have the digest by which it was sent")
        await asyncio.to_thread(self._check_blobs, data)
        self.manifests[digest] = data
        self.tagged = digest if named is None else self.tagged
        return Answer(
            201, (("Location", f"{self._root}/manifests/sha256:{digest}"), *_named(digest))
        )

    def _check_blobs(self, data: bytes) -> None:
        """Blocks: checking data from a host may take long."""
        if is_index(data):
            return
        for blob in read_manifest(data).blobs:
            if not self.has(blob.digest):
                raise InputError(f"the image lacks its blob {blob.digest[:12]}")
            if self._content.size(blob.digest) != blob.size:
                raise InputError(f"the image names a wrong size for its blob {blob.digest[:12]}")

    def _at(self, upload: str, status: int, size: int) -> Answer:
        return Answer(
            status,
            (
                ("Location", f"{self._root}/blobs/uploads/{upload}"),
                ("Docker-Upload-UUID", upload),
                ("Range", f"0-{max(0, size - 1)}"),
            ),
        )

    def _refused(self, status: int, why: str, *, keep: bool = True) -> Answer:
        if keep and self.refusal is None:
            self.refusal = why
        return Answer(status, error=why)


async def _whole(body: AsyncIterator[bytes]) -> bytes:
    """Read a whole manifest. It may arrive byte by byte; other tasks run meanwhile."""
    data = bytearray()
    async for piece in body:
        data += piece
        if len(data) > MOST_MANIFEST:
            raise InputError(f"the image has a manifest of over {MOST_MANIFEST} bytes")
        await asyncio.sleep(0)
    return bytes(data)


def _named(digest: str) -> tuple[tuple[str, str], ...]:
    return (("Docker-Content-Digest", f"sha256:{digest}"),)


def check_room(came: int, most: int, is_full: IsFull) -> None:
    """Raises InputError if there is no room for more of an image."""
    remedy = "raise images under [limits], or free space on the daemon's disk (hostler gc)"
    if came > most:
        size = format_size(most)
        raise InputError(
            f"the image is larger than the {size} that the daemon has room for", remedy=remedy
        )
    if is_full():
        raise InputError("the daemon's disk has no room for the rest of the image", remedy=remedy)
