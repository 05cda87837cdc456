"""API calls about images: list those that the daemon keeps, send one to hosts, forget one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hostler.base.errors import HostlerError, NotFoundError
from hostler.base.text import shown
from hostler.daemon.audit import Audit
from hostler.daemon.context import Context
from hostler.daemon.images import ImageDelivery, Wanted
from hostler.decide.image_source import is_pinned
from hostler.model.calls import Call, Caller
from hostler.model.images import StoredImage
from hostler.model.views.images import ImageList, ImageView, RemovedImages, SentImage, SentImages


class ImageCalls:
    """Authorises the caller, and writes the audit entry before the action."""

    def __init__(self, context: Context, delivery: ImageDelivery, audit: Audit) -> None:
        self._context, self._delivery, self._audit = context, delivery, audit

    async def list(self, who: Caller) -> ImageList:
        """The images that the daemon keeps."""
        self._context.rights.authorize(who, Call.LOOK)
        found = await self._context.store.images.all()
        limit = self._context.config.limits.images
        return ImageList(images=tuple(map(_view, found)), limit=limit)

    async def send(self, image: str, hosts: Sequence[str], who: Caller) -> SentImages:
        """Copy an image to hosts, all at the same time: for operators, and for users who have built
        or used it. Raises ForbiddenError, or NotFoundError for an unknown host, before anything is
        sent."""
        if not await self._is_own(who, image):
            self._context.rights.authorize(who, Call.IMAGE_SEND)
        self._context.standing.check_current()
        wanted = tuple(dict.fromkeys(hosts))
        for host in wanted:
            if host not in self._context.monitors:
                known = ", ".join(list(self._context.monitors)[:20])
                raise NotFoundError(f"there is no host {shown(host)}", remedy=f"Known: {known}")
        await self._audit.note(who, Call.IMAGE_SEND, {"image": image, "hosts": list(wanted)})
        return SentImages(sent=tuple(await asyncio.gather(*(self._sent(h, image) for h in wanted))))

    async def remove(self, name: str, who: Caller) -> RemovedImages:
        """Forget images by their name or digest; the next gc removes their blobs."""
        self._context.rights.authorize(who, Call.IMAGE_REMOVE)
        digest = name.removeprefix("sha256:")
        found = await self._context.store.images.all()
        gone = [each.digest for each in found if name == each.name or digest == each.digest]
        if not gone:
            remedy = "hostler images ls"
            raise NotFoundError(f"the daemon keeps no image {shown(name)}", remedy=remedy)
        await self._audit.note(who, Call.IMAGE_REMOVE, {"image": name})
        await self._delivery.forget(gone)
        return RemovedImages(removed=len(gone))

    async def _is_own(self, who: Caller, image: str) -> bool:
        """Whether a run of the user has built or used it: then the user already had it on a host.
        Only a digest proves that; a name may mean another image by now."""
        if not is_pinned(image):
            return False
        digest = image.rpartition(":")[2]
        return await self._context.store.images.is_used_by(who.uid, digest)

    async def _sent(self, host: str, image: str) -> SentImage:
        try:
            brought = await self._delivery.bring(host, Wanted(image, image), _untold)
        except HostlerError as error:
            return SentImage(host=host, error=error.told)
        if brought is None:
            said = f"no connected host besides {host} has {image}, and the daemon does not keep it"
            return SentImage(host=host, error=said)
        return SentImage(host=host, image=brought.image_id, name=brought.name)


def _view(image: StoredImage) -> ImageView:
    return ImageView(
        name=image.name,
        digest=f"sha256:{image.digest}",
        size=image.size,
        host=image.host,
        taken_at=image.taken_at,
        used_at=image.used_at,
    )


def _untold(what: str, done: int, total: int | None) -> None:
    """Report no progress: the caller waits for the answer."""
