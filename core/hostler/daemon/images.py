"""Copies images to hosts that cannot pull them, from another host or the daemon's store (1 GiB of
its disk stays free); which host: `decide.image_source`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from weakref import WeakValueDictionary

from hostler.base.errors import EngineError, HostlerError, ImageAway, InputError, NoImage
from hostler.base.failpoints import failpoint
from hostler.base.units import GIB
from hostler.daemon.context import Context
from hostler.daemon.image_pins import ImagePins
from hostler.daemon.image_sources import ImageSources
from hostler.daemon.jobs import build_of
from hostler.decide.image_budget import freed_by, images_to_drop
from hostler.decide.image_source import (
    Holder,
    check_name,
    choose_holder,
    fits_name,
    fits_platform,
    fitting,
    is_pinned,
    may_offer,
    offering,
    other_platform,
)
from hostler.model.images import StoredImage
from hostler.model.jobs import Job
from hostler.model.runtimes import traits_of
from hostler.ports import Progress
from hostler.runtimes.docker.images.archive import local_name, names_of, names_of_built
from hostler.runtimes.docker.images.ask import untag_all
from hostler.runtimes.docker.images.load import Loader
from hostler.runtimes.docker.images.take import MOST_BYTES, take_image
from hostler.runtimes.docker.images.taken import Sought, Taken, read_taken
from hostler.runtimes.docker.setup_names import is_unused


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image that a host needs."""

    image: str
    """What hosts are asked for: a name, a name with a digest, or an id."""
    named: str
    """The name for users: an image, or the stage that builds it."""


@dataclass(frozen=True, slots=True)
class _Target:
    host: str
    platform: str


_log = logging.getLogger("hostler.daemon")
_LEFT_FREE = GIB
"""Bytes of the daemon's disk that images leave free."""


@dataclass(frozen=True, slots=True)
class Brought:
    """An image that is on a host now."""

    image_id: str
    """The image's id in the host's Docker."""
    name: str


class ImageDelivery:
    """Copies an image to the daemon once, even if several hosts need it at the same time, and loads
    it on each."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._loader = Loader(context.content)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._busy: Counter[str] = Counter()
        self._sources = ImageSources(context)
        self.pins = ImagePins(context)
        self._watching: dict[str, list[Progress]] = {}
        self._came: set[str] = set()
        """Digests of layers of interrupted pushes: they are not sent again."""

    async def recall(self) -> None:
        """Read back which images an earlier daemon kept. Raises StateError."""
        images = await self._context.store.images.all()
        found = (f"sha256:{digest}" for image in images for digest in image.ids)
        self._context.images = frozenset(found)

    async def bring(self, host: str, wanted: Wanted, progress: Progress) -> Brought | None:
        """Copy an image to a host. None: the image is nowhere else, or the host accepts none.
        Raises EngineError or InputError if it cannot be copied, Unreachable if the connection is
        lost."""
        check_name(wanted.image)
        link = self._sources.link(host)
        if link is None:
            return None
        to = _Target(host, await self._sources.platform(link))
        taken = await self._found(to, wanted, progress)
        if taken is None:
            return None
        if not _fits(taken, to):
            raise other_platform(wanted.named, _platform(taken), host, to.platform)
        digest = taken.manifest.digest
        name = local_name(self._context.daemon_id, wanted.named, taken.manifest.config.digest)
        with self._in_use(digest):
            failpoint("before_image_load")
            loaded = await self._loader.load(link, taken, name, progress, what=wanted.named)
            failpoint("after_image_load")
        return Brought(loaded, name)

    async def bring_for(self, job: Job, host: str, progress: Progress, error: NoImage) -> Job:
        """The job, its image copied to the host, which could not pull it. Raises ImageAway if the
        image is on a host that does not answer, `error` if it is nowhere else, and as `bring`."""
        named = job.image or ""
        brought = await self.bring(host, Wanted(job.image_digest or named, named), progress)
        if brought is None:
            away = self._silent_builder(job)
            if away is not None:
                said = f"the image that this run built is on {away}, which does not answer"
                raise ImageAway(host, said) from error
            raise error
        return replace(job, image=brought.image_id, image_digest=None)

    def _silent_builder(self, job: Job) -> str | None:
        """The host that built the job's image, if it does not answer now."""
        run = self._context.run_cache.find(job.run_id)
        found = [] if run is None else [s for s in run.stages if s.name == job.stage and s.built_by]
        build = build_of(run, found[0].built_by or "") if run is not None and found else None
        monitor = None if build is None else self._context.monitors.get(build.host)
        return build.host if build is not None and monitor and not monitor.is_connected else None

    async def drop_surplus(self, dry_run: bool) -> tuple[int, int]:
        """Forget images beyond the budget, least recently used first; returns their number, and the
        bytes that only they need. The next gc removes their blobs."""
        images = await self._context.store.images.all()
        most = self._context.config.limits.images
        stay = {digest for digest, users in self._busy.items() if users}
        stay |= (await self.pins.of(images)).keys()
        dropped = images_to_drop(images, most, stay)
        if dropped and not dry_run:
            await self.forget([image.digest for image in dropped])
        return len(dropped), freed_by(dropped, images)

    async def keep_built(self) -> None:
        """Keep images that were built for releases of services and are in no registry: if one is
        removed from a host, the daemon still has it. Never raises."""
        try:
            missing = await self.pins.missing()
        except HostlerError as error:
            _log.warning("images of releases are not kept here yet: %s", error)
            return
        for image_id, stage in missing.items():
            await self._keep(Wanted(image_id, stage))

    async def _keep(self, wanted: Wanted) -> None:
        """Keep one image; if its host does not send it, that must not block other images and gc."""
        try:
            async with asyncio.timeout(self._context.timings.image_keep):
                holders = await self._sources.holders(wanted.image, "")
                if holders:
                    await self._found(_Target("", holders[0].platform), wanted, _untold)
        except (HostlerError, TimeoutError) as error:
            why = str(error) or "it did not arrive in time"
            _log.warning("the image %s of a release is not kept here yet: %s", wanted.named, why)

    async def forget(self, digests: Collection[str]) -> None:
        """Stop keeping images."""
        await self._context.store.images.remove(digests)
        await self.recall()

    async def sweep(self, host: str, needed: Collection[str] | None) -> int:
        """Remove names of images from a host: copies that the daemon no longer keeps, images that
        runs have built and that are not `needed` (None: not known), or that no setup used for a
        month; returns how many. An image that a container uses stays. Raises HostError."""
        link = self._sources.link(host)
        runtimes = self._context.monitors[host].host.runtimes
        if link is None or not any(traits_of(runtime).has_engine for runtime in runtimes):
            return 0
        daemon_id = self._context.daemon_id
        copies, built = names_of(daemon_id), names_of_built(daemon_id)
        kept = [image.ids for image in await self._context.store.images.all()]
        now = self._context.clock.now()

        def is_doomed(name: str) -> bool:
            if name.startswith(copies):
                config = name.rpartition(":")[2]
                return not any(each.startswith(config) for ids in kept for each in ids)
            if is_unused(name, daemon_id, now):
                return True
            run_id, colon, _ = name.removeprefix(built).partition(":")
            is_built = name.startswith(built) and colon and "/" not in run_id
            return bool(is_built) and needed is not None and run_id not in needed

        return await untag_all(link, is_doomed, prune=True)

    async def _found(self, to: _Target, wanted: Wanted, progress: Progress) -> Taken | None:
        """The image, complete in the content store. The first task that needs it copies it,
        once."""
        pinned = is_pinned(wanted.image)
        known = await self._by_digest(wanted.image, to) if pinned else None
        if known is not None and _fits(known, to):
            return known
        holder = await self._holder(to, wanted)
        if holder is None:
            return known if pinned else await self._by_name(wanted.image, to)
        with self._told(holder.image_id, progress) as everybody:
            async with self._turns.setdefault(holder.image_id, asyncio.Lock()):
                try:
                    known = await self._by_digest(holder.image_id, to)
                    if known is None or not _fits(known, to):
                        return await self._take(holder, wanted, everybody)
                    self._check(holder, wanted, known)
                    return known
                except EngineError as error:
                    # It is no fault of the host that needs the image.
                    said = f"image {wanted.named} cannot be copied from {holder.host}: "
                    raise EngineError(to.host, said + error.message, remedy=error.remedy) from error

    async def _holder(self, to: _Target, wanted: Wanted) -> Holder | None:
        found = await self._sources.holders(wanted.image, to.host)
        found = offering(wanted.image, found, self._offers())
        return choose_holder(wanted.image, fitting(wanted.named, found, to.host, to.platform))

    def _offers(self) -> tuple[str, ...]:
        """The hosts that are trusted for the meaning of an image's name."""
        config = self._context.config
        if config.docker.deliver_from is None:
            return () if config.daemon.is_shared else ("*",)
        return config.docker.deliver_from

    async def _by_digest(self, image: str, to: _Target) -> Taken | None:
        """The daemon's copy of the image with an id, or a name with a digest, if it is complete."""
        digest = image.rpartition("sha256:")[2]
        return await self._first(lambda stored: digest in stored.ids, to)

    async def _by_name(self, image: str, to: _Target) -> Taken | None:
        """The same for an image that was requested by this name, and came from a trusted host."""
        offers = self._offers()
        return await self._first(lambda s: s.name == image and may_offer(s.host, offers), to)

    async def _first(self, is_meant: Callable[[StoredImage], bool], to: _Target) -> Taken | None:
        """The image for that machine, if there is one: an index has an image for each kind of
        machine."""
        other: Taken | None = None
        for stored in reversed(await self._context.store.images.all()):
            if is_meant(stored):
                with contextlib.suppress(InputError, OSError):
                    taken = await asyncio.to_thread(self._read, stored)
                    if not _fits(taken, to):
                        other = taken
                        continue
                    await self._note(replace(stored, used_at=self._context.clock.now()))
                    return taken
        return other

    async def _take(self, holder: Holder, wanted: Wanted, progress: Progress) -> Taken:
        context, link = self._context, self._sources.link(holder.host)
        if link is None:
            raise EngineError(holder.host, "its images cannot be taken")
        kept = {d for stored in await context.store.images.all() for d in stored.blobs}
        turn = self._turns.setdefault(f"host {holder.host}", asyncio.Lock())
        if turn.locked():
            progress(f"waiting for {holder.host}, from which another image is copied", 0, None)
        async with turn:
            failpoint("before_image_take")
            taken = await take_image(
                link, holder.image_id, context.content, f"hostler-{context.daemon_id[:8]}",
                kept.__contains__, self._came, progress, wanted.named, self._room(),
                context.timings.runtimes, lambda: not self._free(),
            )  # fmt: skip
        self._check(holder, wanted, taken)
        failpoint("after_image_take")
        await self._note(stored_of(taken, wanted.image, holder.host, context.clock.now()))
        self._came -= {blob.digest for blob in taken.manifest.blobs}
        return taken

    def _room(self) -> int:
        """Most bytes accepted for one image: a host must not fill the disk of the daemon."""
        return min(MOST_BYTES, self._context.config.limits.images, self._free())

    def _free(self) -> int:
        """Free bytes of the disk for images now; several images may be received at the same
        time."""
        return max(0, shutil.disk_usage(self._context.store.folder).free - _LEFT_FREE)

    def _check(self, holder: Holder, wanted: Wanted, taken: Taken) -> None:
        """Raises EngineError if the host's image for a digest has another digest. It is accepted if
        no user named the digest: then the host itself said what the name means.
        """
        by_name = "@" in wanted.image and not is_pinned(wanted.named)
        if fits_name(wanted.image, taken.ids):
            return
        if by_name and may_offer(holder.host, self._offers()):
            return
        raise EngineError(
            holder.host,
            f"the image {wanted.image} on {holder.host} has another digest: Docker's classic image "
            "store makes a new manifest",
            remedy=f"name it by its id (on {holder.host}: docker images --no-trunc)",
        )

    @contextmanager
    def _told(self, key: str, progress: Progress) -> Iterator[Progress]:
        """Report the progress of one image to all tasks that wait for it."""
        everybody = self._watching.setdefault(key, [])
        everybody.append(progress)
        try:
            yield partial(_tell, everybody)
        finally:
            everybody.remove(progress)
            if not everybody:
                del self._watching[key]

    def _read(self, stored: StoredImage) -> Taken:
        """A stored image from the content store. Raises InputError if a part is missing."""
        content = self._context.content
        data = content.path(stored.digest).read_bytes()
        sought = Sought(f"sha256:{stored.digest}", "", "")
        found = read_taken(content, {stored.digest: data}, stored.digest, sought)
        return replace(found, ids=found.ids | stored.ids)

    async def _note(self, image: StoredImage) -> None:
        await self._context.store.images.put(image)
        await self.recall()
        await self.drop_surplus(dry_run=False)

    @contextmanager
    def _in_use(self, digest: str) -> Iterator[None]:
        """While an image is being copied, the budget does not remove it."""
        self._busy[digest] += 1
        try:
            yield
        finally:
            self._busy[digest] -= 1


def _untold(what: str, done: int, total: int | None) -> None:
    """Report no progress: no task waits for it."""


def _platform(taken: Taken) -> str:
    return f"{taken.config.os}/{taken.config.architecture}"


def _fits(taken: Taken, to: _Target) -> bool:
    return fits_platform(_platform(taken), to.platform)


def _tell(everybody: list[Progress], what: str, done: int, total: int | None) -> None:
    for each in everybody:
        each(what, done, total)


def stored_of(taken: Taken, name: str, host: str, now: float) -> StoredImage:
    """The database entry of a received image."""
    blobs = {blob.digest: blob.size for blob in taken.manifest.blobs}
    blobs[taken.manifest.digest] = len(taken.manifest.data)
    return StoredImage(
        digest=taken.manifest.digest, name=name, host=host, ids=taken.ids, blobs=blobs,
        taken_at=now, used_at=now,
    )  # fmt: skip
