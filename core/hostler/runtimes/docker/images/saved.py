"""Reads the tar of `docker save` as it arrives: finds the parts of the image, and refuses more than
4,000 files or several images. Pure.

It reads only the needed features of tar: plain files, and links with short names. A host may send
anything else, which is never unpacked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hostler.base.errors import InputError
from hostler.runtimes.docker.images.manifest import OCI_MANIFEST, digest_of
from hostler_agent.json_values import Json, Outgoing, items, string, strings, table

MOST_MEMBERS = 4000
_BLOCK = 512
_MOST_EXTENSION = 1024 * 1024
_PLAIN, _EXTENSIONS = (b"0", b"\0"), (b"x", b"g", b"L", b"K")
"""Types of members with content: files, and extensions of the next member's header."""
_PAX_SIZE = re.compile(rb"(?:^|\n)\d{1,3} size=(\d{1,15})\n")
_PART = re.compile(
    r"blobs/sha256/(?P<digest>[0-9a-f]{64})|[0-9a-f]{64}\.json|[0-9a-f]{64}/layer\.tar"
)
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"


@dataclass(frozen=True, slots=True)
class Member:
    """The start of a member of the tar."""

    name: str
    size: int
    """Bytes of its content, which follows in pieces."""
    link: str | None = None
    """Target of the link."""

    @property
    def is_part(self) -> bool:
        """Whether it can be a layer, a configuration or a manifest."""
        return self.link is None and _PART.fullmatch(self.name) is not None

    @property
    def digest(self) -> str | None:
        """The digest that its content must have, if its name contains one."""
        match = _PART.fullmatch(self.name)
        return match["digest"] if match else None


class SavedTar:
    """Reads the members of a tar that arrives in pieces."""

    def __init__(self) -> None:
        self._head = b""
        self._left = self._padding = 0
        self._extension: bytes | None = None
        self._next_size: int | None = None
        self._members = 0
        self._ended = False

    @property
    def is_whole(self) -> bool:
        """Whether the end of the archive has arrived."""
        return self._ended

    def feed(self, data: bytes) -> Iterator[Member | bytes]:
        """Each member that starts, followed by pieces of its content. Raises InputError."""
        at = 0
        while at < len(data) and not self._ended:
            if self._left:
                piece = data[at : at + self._left]
                self._left -= len(piece)
                at += len(piece)
                if self._extension is None:
                    yield piece
                else:
                    self._extend(piece)
            elif self._padding:
                step = min(self._padding, len(data) - at)
                self._padding -= step
                at += step
            else:
                piece = data[at : at + _BLOCK - len(self._head)]
                self._head += piece
                at += len(piece)
                if len(self._head) == _BLOCK:
                    yield from self._begin()

    def _begin(self) -> Iterator[Member]:
        head, self._head = self._head, b""
        if not any(head):
            self._ended = True
            return
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise InputError(f"the saved image has more than {MOST_MEMBERS} files")
        size, kind = _size(head), head[156:157]
        if kind in _EXTENSIONS:
            if size > _MOST_EXTENSION:
                raise InputError("the saved image has a file with too long a header")
            self._extension = b""
        else:
            self._extension = None
            told, self._next_size = self._next_size, None
            if told is not None and kind in _PLAIN:  # only these have content here
                size = told
            link = _text(head[157:257]) if kind in (b"1", b"2") else None
            yield Member(_text(head[:100]), size, link)
        self._left, self._padding = size, -size % _BLOCK

    def _extend(self, piece: bytes) -> None:
        """Read an extended header: it has the size of a layer over 8 GiB; the rest is ignored."""
        self._extension = (self._extension or b"") + piece
        if not self._left and (match := _PAX_SIZE.search(self._extension)):
            self._next_size = int(match[1])


def index_of(data: bytes) -> str:
    """The manifest or index that an OCI layout names. Raises InputError unless there is exactly
    one."""
    found = items(table(_parsed(data)).get("manifests"))
    digests = {digest_of(table(entry).get("digest")) for entry in found}
    if len(digests) != 1:
        raise InputError(f"the saved archive has {len(digests)} images, not one")
    return digests.pop()


def manifest_of(
    data: bytes, parts: Mapping[str, tuple[str, int]], links: Mapping[str, str]
) -> bytes:
    """A manifest for an archive from an older Docker. `data`: its `manifest.json`; `parts`: name ->
    digest and size of the file. Raises InputError."""
    images = items(_parsed(data))
    if len(images) != 1:
        raise InputError(f"the saved archive has {len(images)} images, not one")
    image = table(images[0])
    config = string(image.get("Config")) or ""
    layers = [_followed(name, links) for name in strings(image.get("Layers"))]
    missing = [name for name in (config, *layers) if name not in parts]
    if missing:
        raise InputError("the saved image lacks one of its files")
    described = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _described(_CONFIG, parts[config]),
        "layers": [_described(_LAYER, parts[name]) for name in layers],
    }
    return json.dumps(described).encode()


def _followed(name: str, links: Mapping[str, str]) -> str:
    """The file's name after at most one link: a layer that occurs twice is a link to the other
    file."""
    target = links.get(name)
    return name if target is None else target.removeprefix("../")


def _described(kind: str, part: tuple[str, int]) -> Outgoing:
    return {"mediaType": kind, "digest": f"sha256:{part[0]}", "size": part[1]}


def _parsed(data: bytes) -> Json:
    try:
        value: Json = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError("the saved image has a list of its parts that cannot be read") from error
    return value


def _size(head: bytes) -> int:
    """The size in a header, after a check of the header's sum, which fails for data that is not a
    tar."""
    try:
        told = int(head[148:156].strip(b" \0"), 8)
        field = head[124:136]
        if field[:1] == b"\x80":
            size = int.from_bytes(field[1:], "big")
        else:
            size = int(field.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise InputError("the saved image is not a tar archive") from error
    if told != sum(head[:148]) + 8 * 32 + sum(head[156:]) or not 0 <= size < 2**50:
        raise InputError("the saved image is not a tar archive")
    return size if head[156:157] in (*_PLAIN, *_EXTENSIONS) else 0


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")
