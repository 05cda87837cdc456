"""Makes SHA-256 digests; loads hashlib only for the first one.

The module hashlib loads OpenSSL, which takes half as long as the start of Python, and most bulk
agents need no digest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import hashlib


def new_sha256() -> hashlib._Hash:
    """A SHA-256 object without data."""
    import hashlib

    return hashlib.sha256()
