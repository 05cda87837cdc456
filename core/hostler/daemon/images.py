"""Brings images to hosts that cannot pull them, from where they are: another host, or what the
daemon keeps."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from hostler.base.errors import EngineError, HostError, InputError
from hostler.base.failpoints import failpoint
from hostler.daemon.context import Context
from hostler.daemon.host_monitor import HostMonitor
from hostler.decide.image_budget import freed_by, images_to_drop
from hostler.decide.image_source import Holder, check_name, choose_holder, fits_name
from hostler.model.hosts import HostCondition
from hostler.model.images import StoredImage
from hostler.model.runtimes import traits_of
from hostler.ports import ImageLink, Progress
from hostler.runtimes.docker.images.archive import local_name, names_of
from hostler.runtimes.docker.images.ask import inspect_image, layers_of, untag_all
from hostler.runtimes.docker.images.load import Loader
from hostler.runtimes.docker.images.take import take_image
from hostler.runtimes.docker.images.taken import Sought, Taken, read_taken
from hostler_agent.json_values import string

_MOST_ASKED = 64
_ASK_AGAIN = 0.5


@dataclass(frozen=True, slots=True)
class Brought:
    """An image that is on a host now."""

    image_id: str
    """By which its Docker knows it."""
    name: str


class ImageDelivery:
    """Takes an image once, also where several hosts need it at the same moment, and loads it on
    each."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._loader = Loader(context.content)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._busy: Counter[str] = Counter()

    async def recall(self) -> None:
        """What an earlier daemon kept. Raises StateError."""
        images = await self._context.store.images.all()
        found = (f"sha256:{digest}" for image in images for digest in image.ids)
        self._context.images = frozenset(found)

    async def bring(
        self, target: str, image: str, progress: Progress, named: str = ""
    ) -> Brought | None:
        """Have an image on a host. None: the image is nowhere else, or the host takes none.
        Raises EngineError or InputError where it cannot be brought, Unreachable when cut. `named`:
        what people call it, where `image` is an id."""
        check_name(image)
        link = self._link(target)
        if link is None:
            return None
        taken = await self._found(target, image, progress, named or image)
        if taken is None:
            return None
        digest = taken.manifest.digest
        name = local_name(self._context.daemon_id, named or image, taken.manifest.config.digest)
        with self._in_use(digest):
            failpoint("before_image_load")
            loaded = await self._loader.load(link, taken, name, progress, what=named or image)
            failpoint("after_image_load")
        return Brought(loaded, name)

    async def drop_surplus(self, dry_run: bool) -> tuple[int, int]:
        """Forget images beyond the budget, least recently used first; how many, and the bytes that
        only they need. Their blobs go with the next gc."""
        images = await self._context.store.images.all()
        most = self._context.config.limits.images
        dropped = images_to_drop(images, most, [d for d, users in self._busy.items() if users])
        if dropped and not dry_run:
            await self.forget([image.digest for image in dropped])
        return len(dropped), freed_by(dropped, images)

    async def forget(self, digests: Collection[str]) -> None:
        """Keep images no more."""
        await self._context.store.images.remove(digests)
        await self.recall()

    async def sweep(self, host: str) -> int:
        """Remove the names of delivered images that the daemon keeps no more from a host; how many.
        An image that a container uses stays. Raises HostError."""
        link = self._link(host)
        runtimes = self._context.monitors[host].host.runtimes
        if link is None or not any(traits_of(runtime).has_engine for runtime in runtimes):
            return 0
        kept = [image.ids for image in await self._context.store.images.all()]
        start = names_of(self._context.daemon_id)

        def is_doomed(name: str) -> bool:
            config = name.rpartition(":")[2]
            is_kept = any(each.startswith(config) for ids in kept for each in ids)
            return name.startswith(start) and not is_kept

        return await untag_all(link, is_doomed, prune=True)

    async def _found(self, target: str, image: str, progress: Progress, named: str) -> Taken | None:
        """The image, all of it here. It is taken once by whoever comes first."""
        holder = choose_holder(image, await self._holders(image, target))
        key = holder.image_id if holder is not None else image
        async with self._turns.setdefault(key, asyncio.Lock()):
            known = await self._known(holder, image)
            if known is not None or holder is None:
                return known
            try:
                return await self._take(holder, image, progress, named)
            except EngineError as error:
                # It is no fault of the host that needs the image.
                said = f"image {named} cannot be copied from {holder.host}: {error.message}"
                raise EngineError(target, said, remedy=error.remedy) from error

    async def _known(self, holder: Holder | None, image: str) -> Taken | None:
        """What the daemon has of it already, if that is whole."""
        for stored in reversed(await self._context.store.images.all()):
            wanted = holder.image_id.removeprefix("sha256:") if holder is not None else ""
            if wanted in stored.ids if holder is not None else stored.name == image:
                with contextlib.suppress(InputError):
                    taken = await asyncio.to_thread(self._read, stored)
                    await self._note(replace(stored, used_at=self._context.clock.now()))
                    return taken
        return None

    async def _take(self, holder: Holder, image: str, progress: Progress, named: str) -> Taken:
        context, link = self._context, self._link(holder.host)
        if link is None:
            raise EngineError(holder.host, "its images cannot be taken")
        blobs = {d for stored in await context.store.images.all() for d in stored.blobs}
        async with self._turns.setdefault(f"host {holder.host}", asyncio.Lock()):
            failpoint("before_image_take")
            taken = await take_image(
                link, holder.image_id, context.content, f"hostler-{context.daemon_id[:8]}",
                blobs.__contains__, progress, named, context.timings.runtimes,
            )  # fmt: skip
        if not fits_name(image, taken.ids):
            raise EngineError(holder.host, f"what {holder.host} sent is not {image}")
        failpoint("after_image_take")
        now = context.clock.now()
        blobs_of = {blob.digest: blob.size for blob in taken.manifest.blobs}
        blobs_of[taken.manifest.digest] = len(taken.manifest.data)
        await self._note(
            StoredImage(
                digest=taken.manifest.digest,
                name=image,
                host=holder.host,
                ids=taken.ids,
                blobs=blobs_of,
                taken_at=now,
                used_at=now,
            )
        )
        return taken

    def _read(self, stored: StoredImage) -> Taken:
        """A stored image out of the content store. Raises InputError where something is missing."""
        content = self._context.content
        data = content.path(stored.digest).read_bytes()
        sought = Sought(f"sha256:{stored.digest}", "", "")
        found = read_taken(content, {stored.digest: data}, stored.digest, sought)
        return replace(found, ids=found.ids | stored.ids)

    async def _note(self, image: StoredImage) -> None:
        await self._context.store.images.put(image)
        await self.recall()
        await self.drop_surplus(dry_run=False)

    async def _holders(self, image: str, target: str) -> list[Holder]:
        """Hosts that have it, in the order of the config. One that does not answer has none."""
        await self._all_tried()
        monitors = self._context.monitors.items()
        names = [name for name, monitor in monitors if monitor.is_connected and name != target]
        asked = [self._holder(name, image) for name in names[:_MOST_ASKED]]
        return [found for found in await asyncio.gather(*asked) if found is not None]

    async def _all_tried(self) -> None:
        """After a start of the daemon, wait for hosts that are connected to for the first time: one
        of them may be the only one that has the image."""
        context = self._context
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(context.timings.image_holder):
                while not context.hub.is_closed and any(
                    map(_is_untried, context.monitors.values())
                ):
                    await context.hub.wait(context.hub.version, _ASK_AGAIN)

    async def _holder(self, host: str, image: str) -> Holder | None:
        link = self._link(host)
        if link is None:
            return None
        try:
            async with asyncio.timeout(self._context.timings.image_holder):
                found = await inspect_image(link, image)
        except (HostError, TimeoutError):
            return None
        image_id = string((found or {}).get("Id"))
        if found is None or not image_id:
            return None
        return Holder(host, image_id, layers_of(found), string(found.get("Created")) or "")

    def _link(self, host: str) -> ImageLink | None:
        """The way to a host whose images can be taken, and to which they can be brought."""
        link = self._context.link(host)
        return link if isinstance(link, ImageLink) else None

    @contextmanager
    def _in_use(self, digest: str) -> Iterator[None]:
        """While an image is on its way, the budget lets it be."""
        self._busy[digest] += 1
        try:
            yield
        finally:
            self._busy[digest] -= 1


def _is_untried(monitor: HostMonitor) -> bool:
    return monitor.host.condition is HostCondition.CONNECTING
