"""SHA-256 of what is read. hashlib loads OpenSSL, which takes half as long as the start of Python:
most bulk agents need no digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import hashlib


def new_sha256() -> hashlib._Hash:
    """A SHA-256 without any bytes yet."""
    import hashlib

    return hashlib.sha256()
