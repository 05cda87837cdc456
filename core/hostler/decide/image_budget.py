"""Which images on the daemon's disk are deleted when they exceed their limit: the least recently
used first. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from hostler.model.images import StoredImage


def images_to_drop(
    images: Iterable[StoredImage], most: int, busy: Collection[str] = ()
) -> tuple[StoredImage, ...]:
    """The images to remove, least recently used first, until the others have at most `most` bytes.
    A blob that several images share counts once, and is freed with the last of them. `busy`:
    digests of images that the daemon is sending to a host, which stay."""
    ordered = sorted(images, key=lambda image: (image.used_at, image.digest))
    users: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    for image in ordered:
        users.update(image.blobs.keys())
        sizes.update(image.blobs)
    total, dropped = sum(sizes.values()), []
    for image in ordered:
        if total <= most:
            break
        if image.digest not in busy:
            users.subtract(image.blobs.keys())
            total -= sum(size for digest, size in image.blobs.items() if not users[digest])
            dropped.append(image)
    return tuple(dropped)


def freed_by(dropped: Collection[StoredImage], images: Iterable[StoredImage]) -> int:
    """Bytes that only dropped images need."""
    gone = {image.digest for image in dropped}
    kept = {digest for image in images if image.digest not in gone for digest in image.blobs}
    blobs = {d: size for image in dropped for d, size in image.blobs.items() if d not in kept}
    return sum(blobs.values())
