"""What a service needs to go back to an earlier release stays, and is the very same."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from hostler.base.errors import EngineError
from hostler.cli.commands.gc import gc_lines
from hostler.daemon import images as module
from hostler.daemon.release_images import built_by, images_of, with_images_of
from hostler.daemon.submit import Submission
from hostler.decide.image_source import Holder
from hostler.model.images import StoredImage
from hostler.model.pipelines import StageKind
from hostler.model.releases import ReleaseState
from hostler.model.runs import Phase
from tests.core.daemon.test_deploys_on_sim import ANA, Lab, submission
from tests.core.daemon.test_image_offers import ID, OTHER, Sources
from tests.support.daemons.simdaemon import OWNER, SimDaemon
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import attempt, run, stage

TAGGED = stage("serve.0", base="serve", runtime="docker", image="lab/web:1")
BUILT = stage("serve.0", base="serve", runtime="docker", image="make", built_by="make")
MAKES = stage("make", kind=StageKind.BUILD)


def got(name: str, digest: str, **fields: object) -> object:
    return attempt(stage=name, phase=Phase.SUCCEEDED, image_digest=digest, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("digest", "image"),
    [(f"lab/web@{ID}", f"lab/web@{ID}"), (ID, ID), (f"other/x@{ID}", "lab/web:1")],
)
def test_a_name_means_what_it_meant_then(digest: str, image: str) -> None:
    old = run("r-1", TAGGED, attempts=[got("serve.0", digest)])  # type: ignore[list-item]
    (found,) = with_images_of(run("r-2", TAGGED), old, ["gpu1"], ()).stages
    assert found.image == image
    assert (built_by(old) == {ID: "lab/web:1"}) is (digest == ID)
    assert {"lab/web:1", "a" * 64} <= {*images_of(old)}


@pytest.mark.parametrize(
    ("hosts", "kept", "is_kept"), [(["gpu1"], (), True), ([], (ID,), True), (["gpu2"], (), False)]
)
def test_what_was_built_is_not_built_again_while_it_is_somewhere(
    hosts: list[str], kept: tuple[str, ...], is_kept: bool
) -> None:
    old = run("r-1", MAKES, BUILT, attempts=[got("make", ID)])  # type: ignore[list-item]
    found = with_images_of(run("r-2", MAKES, BUILT), old, hosts, kept)
    assert [*found.kept] == (["make"] if is_kept else [])
    assert found.stages[1] == BUILT
    assert (built_by(old), [*images_of(old)]) == ({ID: "make"}, ["a" * 64])


def stored(number: int, name: str, used_at: float) -> StoredImage:
    digest = f"{number:064x}"
    return StoredImage(digest, name, "gpu1", frozenset({digest}), {digest: 100}, 1.0, used_at)


def served(number: int) -> Submission:
    text = str(submission(number).pipeline)
    boxed = f'command = "serve"\nruntime = "docker"\nimage = "lab/web:{number}"\nport = 80'
    return Submission(pipeline=text.replace('command = "serve"', boxed))


async def test_images_and_runs_of_releases_stay_and_gc_says_why(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        lab, context = Lab(daemon), daemon.daemon.context
        first = await lab.deploy(served(1))
        await lab.until(1, ReleaseState.LIVE)
        second = await lab.deploy(served(2))
        context.near[second.run_id, "serve.0"] = frozenset({"gpu1"})  # it has the image
        await lab.until(2, ReleaseState.LIVE)
        await daemon.finished(first.run_id)
        for number, name in enumerate(("lab/web:1", "lab/web:2", "lab/old:1")):
            await context.store.images.put(stored(number, name, 10.0 + number))
        limits = replace(context.config.limits, images=100, keep_history=0.0)
        context.config = replace(context.config, limits=limits)
        told = await daemon.daemon.service.collect_garbage(False, OWNER)
        assert [each.name for each in await context.store.images.all()] == [
            "lab/web:1",
            "lab/web:2",
        ]
        assert (told.images.images, told.runs) == (1, ())
        lines = gc_lines(told, "freed")
        assert "image lab/web:1 (100 B) stays: releases digits 1 need it" in lines
        assert "image lab/web:2 (100 B) stays: releases digits 2 need it" in lines
        third = await lab.deploys.rollback("digits", None, ANA)
        (stage_,) = (await daemon.run(third.run_id)).stages
        assert stage_.image is not None
        assert stage_.image.startswith("sha256:")  # and no name that may mean another one by now


async def test_what_no_registry_has_is_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    async def take(_link: object, image_id: str, *given: object) -> None:
        asked.append((image_id, str(given[5])))
        raise EngineError("gpu1", "it is cut")

    monkeypatch.setattr(module, "take_image", take)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        lab, images = Lab(daemon), daemon.daemon.applier.images
        monkeypatch.setattr(images, "_sources", Sources(Holder("gpu1", OTHER, (), "")))
        await lab.deploy(served(1))
        await daemon.until(lambda: bool(asked), "the image is taken in")
        assert asked == [(OTHER, "lab/web:1")]
        await lab.until(1, ReleaseState.LIVE)


async def test_an_image_that_does_not_come_stands_in_no_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Docker that hangs would stop gc for good, and one that refuses would hide what comes
    after it."""
    asked: list[str] = []

    async def found(_to: object, wanted: module.Wanted, _progress: object) -> None:
        asked.append(wanted.image)
        if wanted.image == "hangs":
            await asyncio.Event().wait()
        raise EngineError("gpu1", "it is cut")

    async def missing() -> dict[str, str]:
        return {"hangs": "a", "refused": "b", OTHER: "c"}

    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        images, context = daemon.daemon.applier.images, daemon.daemon.context
        context.timings = replace(context.timings, image_keep=0.01)
        monkeypatch.setattr(images, "_sources", Sources(Holder("gpu1", OTHER, (), "")))
        monkeypatch.setattr(images, "_found", found)
        monkeypatch.setattr(images.pins, "missing", missing)
        await images.keep_built()
        assert asked == ["hangs", "refused", OTHER]
