"""Images that the daemon keeps for hosts that cannot pull them, as the API gives them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageView:
    """One of them."""

    name: str
    digest: str = ""
    """Of its manifest, as `sha256:...`."""
    size: int = 0
    host: str = ""
    """Where it came from."""
    taken_at: float = 0.0
    used_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageList:
    """All of them, the one needed last at the end; and the bytes that they may have in all."""

    images: tuple[ImageView, ...] = ()
    limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SentImage:
    """What became of an image on one host."""

    host: str
    image: str | None = None
    """The id by which its Docker knows it; None: it did not arrive."""
    name: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentImages:
    """The same for each host that was asked for."""

    sent: tuple[SentImage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedImages:
    """How many images were forgotten."""

    removed: int = 0
