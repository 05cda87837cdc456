"""From which hosts an image is copied, to which, and who may have one sent."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import EngineError, ForbiddenError, InputError, NoImage
from hostler.base.units import GIB, MIB
from hostler.daemon import image_sources as sources
from hostler.daemon import images as module
from hostler.daemon.image_sources import ImageSources
from hostler.daemon.images import Brought, ImageDelivery, Wanted, stored_of
from hostler.decide.image_source import Holder
from hostler.model.calls import Caller
from hostler.model.docker_config import DockerConfig
from hostler.model.jobs import Job
from hostler.model.pipelines import Cause
from hostler.model.runs import Outcome
from hostler.ports import HostLink, Progress
from hostler.runtimes.docker.images.taken import Taken
from hostler.sim.runtime import SimRuntime
from tests.core.runtimes.support import silent
from tests.support.daemons.simdaemon import ANA, SimDaemon, sim
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.images import make_image, sha256
from tests.support.values.planning import stage

BO = Caller(2002, "bo")
ID = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"
BY_NAME = Wanted("lab/x:1", "lab/x:1")
BUILT = Wanted(ID, "image")
TAGGED = Wanted(f"lab/x@{OTHER}", "lab/x:1")


class Sources:
    """gpu1 has it."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder

    def link(self, _host: str) -> Any:
        return object()

    async def holders(self, _image: str, _target: str) -> list[Holder]:
        return [self._holder]

    async def platform(self, _link: Any) -> str:
        return "linux/amd64"


@asynccontextmanager
async def delivery(
    path: Path, monkeypatch: pytest.MonkeyPatch, platform: str = "linux/amd64"
) -> AsyncIterator[ImageDelivery]:
    """Of a daemon whose host gpu1 has the image."""

    async def reached(*_given: Any) -> Any:
        raise EngineError("gpu1", "it was asked for")

    monkeypatch.setattr(module, "take_image", reached)
    async with SimDaemon(small_lab(2), path) as daemon:
        made = ImageDelivery(daemon.daemon.context)
        made._sources = Sources(Holder("gpu1", ID, ("c",), "", platform))  # type: ignore[assignment]
        yield made


def configure(images: ImageDelivery, shared: bool, deliver_from: tuple[str, ...] | None) -> None:
    """Whether the daemon is for a group, and which hosts it trusts."""
    context = images._context
    daemon = replace(context.config.daemon, group="lab" if shared else None)
    docker = DockerConfig(deliver_from=deliver_from)
    context.config = replace(context.config, daemon=daemon, docker=docker)


async def test_by_a_name_alone_images_come_from_trusted_hosts_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = "this daemon accepts images from there only by id"
    async with delivery(tmp_path, monkeypatch) as images:
        for wanted, shared, given, comes in (
            (BY_NAME, False, None, True), (BY_NAME, True, None, False), (BUILT, True, None, True),
            (TAGGED, True, None, True), (BY_NAME, True, ("gpu*",), True), (BUILT, False, (), True),
            (BY_NAME, True, ("gpu2",), False), (BY_NAME, False, (), False),
        ):  # fmt: skip
            configure(images, shared, given)
            error, said = (EngineError, "it was asked for") if comes else (InputError, refused)
            with pytest.raises(error, match=said):
                await images.bring("gpu2", wanted, silent)


async def test_an_image_for_another_kind_of_machine_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with delivery(tmp_path, monkeypatch, "linux/arm64") as images:
        said = "image image is for linux/arm64, and gpu2 is a machine for linux/amd64"
        with pytest.raises(InputError, match=said) as raised:
            await images.bring("gpu2", BUILT, silent)
        assert "build it for linux/amd64" in raised.value.remedy


async def test_what_has_another_digest_than_a_person_named_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's first attempt may have named it, on the word of the host that is trusted now."""

    class Taken:
        ids = frozenset({"a" * 64})

    holder, taken = Holder("gpu1", ID, (), ""), Taken()
    async with delivery(tmp_path, monkeypatch) as images:
        for wanted, given, passes in (
            (TAGGED, None, True), (TAGGED, (), False), (BUILT, (), True),
            (Wanted(OTHER, "image"), None, False),
            (replace(TAGGED, named=TAGGED.image), None, False),
        ):  # fmt: skip
            configure(images, False, given)
            if passes:
                images._check(holder, wanted, taken)  # type: ignore[arg-type]
                continue
            with pytest.raises(EngineError, match="has another digest"):
                images._check(holder, wanted, taken)  # type: ignore[arg-type]


async def test_of_an_index_each_kind_of_machine_gets_its_own_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever kind was copied last; a host may also say that it is of another kind than it is."""
    async with delivery(tmp_path, monkeypatch) as images:
        context, kinds = images._context, ("amd64", "arm64")
        made = {kind: make_image({"a": b"1"}, architecture=kind) for kind in kinds}
        for number, image in enumerate(made.values()):
            for blob in (image.manifest.data, *image.blobs.values()):
                with context.content.partial(f"blob-{sha256(blob)}") as partial:
                    partial.restart()
                    partial.append(blob)
                    partial.finish()
            ids = frozenset({"a" * 64, image.manifest.digest})
            taken = Taken(image.manifest, image.config, image.config_data, ids)
            await context.store.images.put(stored_of(taken, "x", "gpu1", 1e9 + number))
        for kind, image in made.items():
            to = module._Target("gpu2", f"linux/{kind}")
            found = await images._found(to, BUILT, silent)
            assert found is not None
            assert found.manifest.digest == image.manifest.digest
        await images.forget([made["amd64"].manifest.digest])
        with pytest.raises(EngineError, match="it was asked for"):  # gpu1 has it for amd64
            await images.bring("gpu2", BUILT, silent)


async def test_an_image_may_fill_neither_its_budget_twice_nor_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with delivery(tmp_path, monkeypatch) as images:
        context, free = images._context, shutil.disk_usage(tmp_path)._replace(free=20 * GIB)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: free)
        assert images._room() == 19 * GIB
        limits = replace(context.config.limits, images=2 * GIB)
        context.config = replace(context.config, limits=limits)
        assert images._room() == 2 * GIB
        assert images._free() == 19 * GIB
        free = free._replace(free=MIB)
        assert (images._room(), images._free()) == (0, 0)


async def test_who_has_built_or_used_an_image_may_have_it_sent(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("a", env=sim("seconds=0.02")), uid=ANA.uid, owner=ANA.user
        )
        run = await daemon.finished(run_id)
        store, service = daemon.daemon.context.store, daemon.daemon.service
        await store.change_attempt(run.attempts[-1].attempt_id, None, image_digest=f"lab/x@{ID}")
        sent = await service.images.send(ID, ["gpu1"], ANA)
        assert sent.sent[0].error.startswith(f"no connected host besides gpu1 has {ID}")
        for image, who in ((ID, BO), ("lab/x:1", ANA), (OTHER, ANA), (ID[:20], ANA)):
            with pytest.raises(ForbiddenError, match="that no run of yours has built or used"):
                await service.images.send(image, ["gpu1"], who)


async def test_a_copy_is_shown_and_ends_with_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    async def create(_self: SimRuntime, link: HostLink, _job: Job, _progress: Progress) -> str:
        raise NoImage(link.host, "no registry answers")

    async def bring(_self: ImageDelivery, host: str, wanted: Wanted, progress: Progress) -> None:
        progress(f"copying image {wanted.named} from gpu2", 120 * MIB, 300 * MIB)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(host)

    monkeypatch.setattr(SimRuntime, "create", create)
    monkeypatch.setattr(ImageDelivery, "bring", bring)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(stage("a", runtime="docker", image="lab/x:1"))
        progress = daemon.daemon.context.progress
        await daemon.until(lambda: any(done for _, done, _ in progress.values()), "no progress")
        (why,) = (await daemon.daemon.service.why(run_id, None)).stages
        assert "starting on gpu1" in why.sentence
        assert "copying image lab/x:1 from gpu2: 120 MiB of 300 MiB" in why.sentence
        shown = daemon.daemon.service.view(await daemon.daemon.service.run(run_id))
        assert shown.stages[0].progress is not None
        await daemon.cancel(run_id)
        await daemon.finished(run_id)
        assert ended == ["gpu1"]


async def test_all_hosts_are_asked_for_a_name_and_for_a_digest_until_one_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def holder(_self: ImageSources, host: str, _image: str) -> Holder | None:
        asked.append(host)
        return Holder(host, ID, (), "") if host != "gpu1" else None

    monkeypatch.setattr(ImageSources, "_holder", holder)
    monkeypatch.setattr(sources, "_AT_ONCE", 1)
    async with SimDaemon(small_lab(4), tmp_path) as daemon:
        context = daemon.daemon.context
        await daemon.until(
            lambda: all(m.is_connected for m in context.monitors.values()), "not all are there"
        )
        for image, found in ((ID, ["gpu2"]), ("lab/x:1", ["gpu2", "gpu3"])):
            holders = await ImageSources(context).holders(image, "gpu4")
            assert [each.host for each in holders] == found
        assert asked == ["gpu1", "gpu2", "gpu1", "gpu2", "gpu3"]


async def test_a_stage_whose_image_is_on_a_host_that_goes_away_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of the copying: no try is lost, and no GPU is held meanwhile."""
    create = SimRuntime.create
    async with SimDaemon(small_lab(2), tmp_path) as daemon:
        monitors, cuts = daemon.daemon.context.monitors, list[str]()

        async def creating(self: SimRuntime, link: HostLink, job: Job, progress: Progress) -> str:
            if job.image_digest is not None:
                raise NoImage(link.host, "it is not here")
            return await create(self, link, job, progress)

        async def bring(_self: Any, _host: str, _wanted: Wanted, _progress: Any) -> Brought | None:
            if cuts:
                return Brought(ID, "copy")
            cuts.append("gpu1")
            faults_on(daemon.lab, "gpu1").cut()
            await daemon.until(lambda: not monitors["gpu1"].is_connected, "it is heard")
            return None

        monkeypatch.setattr(SimRuntime, "create", creating)
        monkeypatch.setattr(ImageDelivery, "bring", bring)
        image = stage("image", kind="build", command=(), runtime="docker", hosts=("gpu1",))
        train = stage(
            "train", gpus=1, runtime="docker", image="image", needs=("image",), built_by="image",
            hosts=("gpu2",), env=sim("seconds=0.02"),
        )  # fmt: skip
        run_id = await daemon.submit(replace(image, args=sim("seconds=0.02")), train)
        first = await daemon.attempt(run_id, lambda a: a.cause is Cause.NOT_STARTED)
        assert "is on gpu1, which does not answer" in first.detail

        def waits() -> bool:
            reason = daemon.daemon.controller.plan.reasons.get((run_id, "train"))
            lines = [each.sentence for each in reason.hosts] if reason is not None else []
            return any("only gpu1 has the image that this run built" in line for line in lines)

        await daemon.until(waits, "it does not say what it waits for")
        faults_on(daemon.lab, "gpu1").heal()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED
