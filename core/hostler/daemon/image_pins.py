"""Which images and runs are kept for the releases of services and for rollbacks; how many releases:
`decide.releases.notes`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from hostler.daemon.context import Context
from hostler.model.images import StoredImage
from hostler.model.views.kept import PinnedImage

if TYPE_CHECKING:  # loaded where something was deployed
    from hostler.daemon.release_images import Pinned


class ImagePins:
    """Images that stay for the current releases."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def of(self, images: Collection[StoredImage]) -> dict[str, str]:
        """Digests of stored images that stay -> for which releases."""
        pins = await self._pinned()
        if pins is None:
            return {}
        return {image.digest: why for image in images if (why := pins.reason(image))}

    async def staying(self) -> tuple[PinnedImage, ...]:
        """The same for users."""
        images = await self._context.store.images.all()
        why = await self.of(images)
        return tuple(
            PinnedImage(name=image.name, bytes=image.size, releases=why[image.digest])
            for image in images
            if image.digest in why
        )

    async def runs(self) -> frozenset[str]:
        """Runs of these releases."""
        pins = await self._pinned()
        return frozenset() if pins is None else pins.runs

    async def missing(self) -> Mapping[str, str]:
        """Ids of built images that are in no registry and are not kept here -> the stage that has
        built each."""
        pins, kept = await self._pinned(), self._context.images
        built = {} if pins is None else pins.built
        return {image_id: stage for image_id, stage in built.items() if image_id not in kept}

    async def _pinned(self) -> Pinned | None:
        if not self._context.services:
            return None
        from hostler.daemon.release_images import pinned

        return await pinned(self._context)
