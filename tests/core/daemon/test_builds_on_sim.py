"""Stages that build images, through the whole daemon on a simulated lab."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from hostler.base.errors import InputError
from hostler.daemon.jobs import with_built_image
from hostler.daemon.near_images import note_near
from hostler.daemon.tags import with_tagged
from hostler.daemon.trust import check_builds_of
from hostler.model.config import Config
from hostler.model.pipelines import Cause, Retries, Stage
from hostler.model.runs import Outcome, Phase, Source
from tests.support.daemons.simdaemon import SimDaemon, sim, told
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values import planning
from tests.support.values.planning import stage


def build(text: str, name: str = "image", **keys: object) -> Stage:
    """A build that does this."""
    made = stage(name, kind="build", command=(), runtime="docker", **keys)  # type: ignore[arg-type]
    return replace(made, args=sim(text))


def user(name: str, *, gpus: int = 1, image: str = "image", **keys: object) -> Stage:
    """A stage in the image that a stage of the run builds."""
    made = stage(
        name, gpus=gpus, runtime="docker", image=image, needs=(image,), env=sim("seconds=0.05"),
        **keys,  # type: ignore[arg-type]
    )  # fmt: skip
    return replace(made, built_by=image)


async def test_stages_run_in_the_image_where_it_was_built(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        run_id = await daemon.submit(
            build("seconds=0.1 lines=3"), user("a"), user("b"), user("c", gpus=0)
        )
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        image = next(a for a in run.attempts if a.stage == "image")
        assert image.image_digest is not None
        assert image.image_digest.startswith("sha256:")
        assert {a.host for a in run.attempts} == {image.host}
        log = daemon.daemon.context.store.logs.tail(run_id, image.attempt_id, 10).decode()
        for_another = with_built_image(run, run.stages[1])
        assert (for_another.image, for_another.built_by) == (image.image_digest, None)
        assert with_built_image(run, run.stages[0]) is run.stages[0]
        assert log.splitlines() == [f"Step {n}/3 : RUN sim" for n in (1, 2, 3)]
        await daemon.clean()


async def test_a_stage_that_waits_for_the_host_with_the_image_says_so(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        run_id = await daemon.submit(build("seconds=0.05"), user("train", gpus=2, cpus=1000.0))
        image = await daemon.attempt(run_id, lambda a: a.phase is Phase.SUCCEEDED)
        faults_on(daemon.lab, image.host).cut()
        monitor = daemon.daemon.context.monitors[image.host]
        await daemon.until(lambda: not monitor.is_connected, "it is heard")
        others = daemon.lab.hosts.keys() - {image.host}
        only = f"only {image.host} has the image that this run built"

        def is_said() -> bool:
            # A plan that was begun before the host went may still be the newest one.
            reason = daemon.daemon.controller.plan.reasons[run_id, "train"]
            said = {host.host: host.sentence for host in reason.hosts}
            return others < said.keys() and all(only in said[name] for name in others)

        await daemon.until(is_said, "the others do not say so")
        await daemon.cancel(run_id)
        await daemon.finished(run_id)


async def test_another_host_gets_a_copy_where_the_one_with_the_image_is_full(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(2, gpus=1), tmp_path) as daemon:
        run_id = await daemon.submit(build("seconds=0.05"), user("a"), user("b"))
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        host = next(a.host for a in run.attempts if a.stage == "image")
        assert {a.host for a in run.attempts if a.stage != "image"} == {"gpu1", "gpu2"}
        events = await daemon.daemon.context.store.events(0, run_id)
        placed = [e.message for e in events if e.kind == "attempt.placed"]
        assert any(f"on {host}: its image was built on {host}" in each for each in placed)
        assert any(f"; its image is copied from {host}" in each for each in placed)


async def test_a_failed_build_tells_its_step_and_exit_code(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        run_id = await daemon.submit(build("seconds=0.05 exit=7"), user("train"))
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.FAILED
        (attempt,) = run.attempts
        assert (attempt.cause, attempt.exit_code) == (Cause.USER_ERROR, 7)
        assert attempt.detail == "step 2/2: RUN sim: exit code 7"


async def test_a_build_goes_on_after_the_daemon_was_killed(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        run_id = await daemon.submit(build("seconds=2 lines=4"), user("train"))
        image = await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        logs = daemon.daemon.context.store.logs
        await daemon.until(
            lambda: b"Step 1/4" in logs.tail(run_id, image.attempt_id, 9), "nothing is logged"
        )
        await daemon.kill()
        await daemon.begin()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert [a.number for a in run.attempts] == [1, 1]
        log = daemon.daemon.context.store.logs.tail(run_id, image.attempt_id, 99).decode()
        assert "[hostler] it starts again" in log
        assert log.count("Step 1/4") == 2


async def test_a_build_is_repeated_when_its_host_comes_back(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(build("seconds=0.5 lines=2"), user("train"))
        image = await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        faults_on(daemon.lab, image.host).cut()
        monitor = daemon.daemon.context.monitors[image.host]
        await daemon.until(lambda: not monitor.is_connected, "it is heard")
        faults_on(daemon.lab, image.host).heal()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert [a.number for a in run.attempts] == [1, 1]


async def test_a_build_is_stopped_at_its_time_limit(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(build("seconds=3600", timeout=0.2))
        run = await daemon.finished(run_id)
        (attempt,) = run.attempts
        assert (attempt.phase, attempt.cause) == (Phase.FAILED, Cause.TIME_LIMIT)


async def test_what_the_host_lacks_is_tried_on_another(tmp_path: Path) -> None:
    """A missing base image, or a full disk."""
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        run_id = await daemon.submit(
            build("start_error='no space on gpu1'", retries=Retries(max=1, backoff=0.0))
        )
        run = await daemon.finished(run_id)
        assert [a.cause for a in run.attempts] == [Cause.START_FAILED] * 2
        assert run.attempts[0].host != run.attempts[1].host


async def test_a_build_rather_runs_where_its_base_image_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        context, archive = daemon.daemon.context, tmp_path / "archive"
        with tarfile.open(archive, "w") as tar:
            entry = tarfile.TarInfo("Dockerfile")
            text = b"ARG TAG\nFROM base:$TAG AS first\nRUN true\nFROM first\n"
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
        source = Source(context.content.adopt(archive))
        for name in ("gpu2", "gpu3"):
            daemon.lab.hosts[name].images.add("base:1")
        daemon.lab.hosts["gpu2"].images.add("sha256:" + "a" * 64)
        await daemon.until(lambda: all(m.is_connected for m in context.monitors.values()), "cut")
        image = replace(build("seconds=0"), args={**sim("seconds=0"), "TAG": "1"})
        by_id = stage("by_id", runtime="docker", image="sha256:" + "a" * 64)
        run = planning.run("rnear", image, by_id, user("train"), source=source)
        await note_near(context, run)
        assert context.near == {
            ("rnear", "image"): frozenset({"gpu2", "gpu3"}),
            ("rnear", "by_id"): frozenset({"gpu2"}),
        }
        await daemon.submit(image, run_id="rnear", source=source)
        (attempt,) = (await daemon.finished("rnear")).attempts
        assert attempt.host in ("gpu2", "gpu3")
        many = [replace(build(""), name=f"b{n}", context=f"folder{n}") for n in range(50)]
        with monkeypatch.context() as patch:
            read = Mock(side_effect=InputError("none"))
            patch.setattr("hostler.runtimes.docker.context.dockerfile_of", read)
            await note_near(context, planning.run("rmany", *many, source=source))
        assert read.call_count == 20
        await note_near(context, planning.run("rother", build(""), source=Source()))
        assert context.near == {}


async def test_a_name_means_the_newest_image_that_its_own_user_built(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        store, built = daemon.daemon.context.store, []
        for text in ("seconds=0 lines=1", "seconds=0 lines=2"):
            run = await daemon.finished(await daemon.submit(replace(build(text), tag="train:3")))
            assert run.outcome is Outcome.SUCCEEDED, told(run)
            built.append(run.attempts[-1].image_digest)
        await daemon.finished(
            await daemon.submit(replace(build("seconds=0 exit=1"), tag="train:3"))
        )
        asked = (stage("x", image="train:3"), stage("y", image="python:3"), user("z"))
        found = await with_tagged(store, run.uid, asked)
        assert built[0] != built[1]
        assert [each.image for each in found] == [built[1], "python:3", "image"]
        assert await with_tagged(store, run.uid + 1, asked) == asked


async def test_a_retry_keeps_the_image_that_is_built(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        fails = replace(user("train"), env=sim("seconds=0.05 exit=1"))
        run_id = await daemon.submit(build("seconds=0.05"), fails)
        run = await daemon.finished(run_id)
        image = next(a for a in run.attempts if a.stage == "image")
        again = await daemon.submit(
            *run.stages[:1], user("train"), kept={"image": image}, retry_of=run_id
        )
        run = await daemon.finished(again)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert [(a.stage, a.host) for a in run.attempts] == [("train", image.host)]


def test_a_shared_daemon_builds_only_where_its_owner_says_so() -> None:
    image, config = build(""), Config()
    check_builds_of(config, image)
    shared = replace(config, daemon=replace(config.daemon, group="lab"))
    with pytest.raises(InputError, match=r"builds = true"):
        check_builds_of(shared, image)
    check_builds_of(replace(shared, docker=replace(shared.docker, builds=True)), image)
    check_builds_of(shared, stage("train"))
    check_builds_of(shared, stage("train", setup="pip install x"))
    with pytest.raises(InputError, match=r"\(setup beside image\).*builds = true"):
        check_builds_of(shared, stage("train", image="x", runtime="docker", setup="apt"))
