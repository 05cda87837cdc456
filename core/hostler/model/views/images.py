"""Images that the daemon keeps for hosts that cannot pull them, in the API."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageView:
    """One kept image."""

    name: str
    digest: str = ""
    """Digest of its manifest, as `sha256:...`."""
    size: int = 0
    host: str = ""
    """The host from which it was copied."""
    taken_at: float = 0.0
    used_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageList:
    """All kept images, the one needed last at the end, and the most bytes that they may have in
    all."""

    images: tuple[ImageView, ...] = ()
    limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SentImage:
    """The result of sending an image to one host."""

    host: str
    image: str | None = None
    """Its id in the host's Docker; None: it did not arrive."""
    name: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentImages:
    """The results for all requested hosts."""

    sent: tuple[SentImage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedImages:
    """Number of removed images."""

    removed: int = 0
