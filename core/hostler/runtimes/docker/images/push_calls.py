"""The calls of a registry that the push endpoint answers, and its user name. All others are
refused, reading in particular. Pure."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

USER = "hostler"
TAG = "push"

_DIGEST = r"sha256:([0-9a-f]{64})"
_PART = re.compile(
    rf"blobs/{_DIGEST}|blobs/uploads/([0-9a-f]{{32}})?|manifests/(?:{_DIGEST}|({TAG}))"
)


@dataclass(frozen=True, slots=True)
class Ping:
    """Checks whether this is a registry, and whether the password is right."""


@dataclass(frozen=True, slots=True)
class HasBlob:
    """Checks whether a blob exists, so that it need not be sent."""

    digest: str


@dataclass(frozen=True, slots=True)
class HasManifest:
    """Checks whether a manifest exists, so that it need not be sent. None: the one with the tag."""

    digest: str | None


@dataclass(frozen=True, slots=True)
class BeginUpload:
    """Starts the upload of a blob."""


@dataclass(frozen=True, slots=True)
class Append:
    """The body continues an upload."""

    upload: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Ends an upload; the body may contain its last bytes. The content must have this digest."""

    upload: str
    digest: str


@dataclass(frozen=True, slots=True)
class PutManifest:
    """The body is a manifest. None: for the tag."""

    digest: str | None


@dataclass(frozen=True, slots=True)
class NoSuchCall:
    """A call that a push does not need."""


Call = (
    Ping | HasBlob | HasManifest | BeginUpload | Append | Finish | PutManifest | NoSuchCall
)  # fmt: skip


def read_call(method: str, target: str, repository: str) -> Call:
    """The call of a request, from its first line. There is only one repository."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return NoSuchCall()
    if parts.netloc or parts.scheme:
        return NoSuchCall()
    if parts.path == "/v2/":
        return Ping() if method in ("GET", "HEAD") else NoSuchCall()
    root = f"/v2/{repository}/"
    match = _PART.fullmatch(parts.path.removeprefix(root))
    if match is None or not parts.path.startswith(root):
        return NoSuchCall()
    blob, upload, manifest, _tag = match.groups()
    if blob is not None:
        return HasBlob(blob) if method == "HEAD" else NoSuchCall()
    if "/manifests/" in parts.path:
        return _manifest_call(method, manifest)
    return _upload_call(method, upload, parts.query)


def may_push(authorization: str, password: str) -> bool:
    """Whether the header `Authorization` contains the login of this push."""
    scheme, _, given = authorization.partition(" ")
    try:
        said = base64.b64decode(given.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    expected = f"{USER}:{password}".encode()
    return scheme.lower() == "basic" and hmac.compare_digest(said, expected)


def _manifest_call(method: str, digest: str | None) -> Call:
    if method == "HEAD":
        return HasManifest(digest)
    return PutManifest(digest) if method == "PUT" else NoSuchCall()


def _upload_call(method: str, upload: str | None, query: str) -> Call:
    if upload is None:
        return BeginUpload() if method == "POST" else NoSuchCall()
    if method == "PATCH":
        return Append(upload)
    digests = _values(query, "digest")
    match = re.fullmatch(_DIGEST, digests[0]) if len(digests) == 1 else None
    return Finish(upload, match[1]) if method == "PUT" and match else NoSuchCall()


def _values(query: str, name: str) -> list[str]:
    try:
        return parse_qs(query, max_num_fields=8).get(name, [])
    except ValueError:
        return []
