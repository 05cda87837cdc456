"""Releases whose image their run builds: built first, and kept while nothing changes."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

from hostler.daemon.deploys import Wanted
from hostler.daemon.submit import Submission
from hostler.model.releases import Release, ReleaseState
from hostler.model.runs import Source
from tests.core.daemon.test_deploys_on_sim import ANA, SERVES, Lab
from tests.support.daemons.simdaemon import SimDaemon
from tests.support.daemons.simlab import small_lab

FILE = """
name = "digits"
[stages.image]
kind = "build"
args = { SIM = "BUILDS" }
[stages.check]
command = "check"
image = "image"
env = { SIM = "seconds=0.02" }
[stages.serve]
kind = "service"
command = "serve"
image = "image"
port = 8000
health = "/"
needs = ["check"]
startup = "30s"
env = { SIM = "SERVES", VERSION = "1" }
"""
BUILDS = "seconds=0.05 lines=2"


class Folder(Lab):
    """Somebody's folder with a Dockerfile, of which versions are deployed."""

    def __init__(self, daemon: SimDaemon) -> None:
        super().__init__(daemon)
        self.source = Source()

    async def write(self, text: str, *, send: bool = True) -> None:
        """Its code."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            entry = tarfile.TarInfo("Dockerfile")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
        digest, parts = hashlib.sha256(packed.getvalue()).hexdigest(), self.daemon.daemon
        if send:
            partial = parts.context.content.partial("source")
            partial.append(packed.getvalue())
            partial.finish(digest)
            partial.close()
            parts.service.submitter.sources.note_sent(digest, ANA.uid)
        self.source = Source(digest=digest)

    def wanted(self, *, builds: str = BUILDS, **more: object) -> Wanted:
        text = FILE.replace("BUILDS", builds).replace("SERVES", SERVES)
        wanted = Wanted(Submission(pipeline=text, source=self.source))
        return replace(wanted, **more)  # type: ignore[arg-type]

    async def serve(self, number: int, **more: object) -> Release:
        """Until the next release is live."""
        release = await self.deploys.deploy(self.wanted(**more), ANA)  # type: ignore[arg-type]
        assert release.number == number
        return await self.until(number, ReleaseState.LIVE)

    async def stages(self, release: Release) -> list[str]:
        """What was carried out of a release, in order."""
        run = await self.daemon.run(release.run_id)
        return [attempt.stage for attempt in run.attempts]

    async def changes(self, **more: object) -> tuple[str, ...]:
        plan = await self.deploys.plan(self.wanted(**more), ANA)  # type: ignore[arg-type]
        return plan.view().changes


async def test_what_did_not_change_is_not_built_again(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        lab = Folder(daemon)
        await lab.write("FROM a")
        everything = ["image", "check", "serve.0"]
        assert await lab.stages(await lab.serve(1)) == everything
        kept = "unchanged, not run again: image, check"
        change = {"env": {"VERSION": "2"}}
        assert await lab.changes(**change) == ("serve.env.VERSION: 1 -> 2", kept)
        second = await lab.serve(2, **change)
        assert await lab.stages(second) == ["serve.0"]
        first = (await lab.deploys.releases("digits"))[-1]
        built = (await daemon.run(second.run_id)).kept["image"]
        assert built.run_id == first.run_id
        assert await lab.stages(await lab.serve(3, rebuild=True)) == everything
        assert (await lab.changes(builds=f"{BUILDS} note=1"))[0].startswith("image.args.SIM: ")
        fourth = await lab.serve(4, builds="seconds=0.01 lines=2")
        assert await lab.stages(fourth) == everything


async def test_other_code_is_built_and_its_plan_sends_nothing(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        lab = Folder(daemon)
        await lab.write("FROM a")
        await lab.serve(1)
        before = lab.source
        await lab.write("FROM b", send=False)
        (said,) = await lab.changes()
        digests = [(source.digest or "")[:12] for source in (before, lab.source)]
        assert said == f"code: {digests[0]} -> {digests[1]}"
        await lab.write("FROM b")
        assert len(await lab.stages(await lab.serve(2))) == 3
        back = await lab.deploys.rollback("digits", 1, ANA)
        await lab.until(3, ReleaseState.LIVE)
        assert await lab.stages(back) == ["serve.0"]


async def test_an_image_that_nobody_has_any_more_is_built_again(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        lab = Folder(daemon)
        await lab.write("FROM a")
        await lab.serve(1)
        for host in daemon.lab.hosts.values():
            host.images.clear()
        assert await lab.changes() == (
            "nothing changes: the new release is the same as the live one",
        )
        assert await lab.stages(await lab.serve(2)) == ["image", "check", "serve.0"]


async def test_a_build_that_fails_leaves_the_live_release_alone(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        lab = Folder(daemon)
        await lab.write("FROM a")
        first = await lab.deploys.deploy(lab.wanted(builds="seconds=0.02 exit=1"), ANA)
        await lab.until(1, ReleaseState.RESTORED)
        assert await lab.stages(first) == ["image"]
        await lab.serve(2)
        (running,) = lab.running()
        await lab.deploys.deploy(lab.wanted(builds="seconds=0.02 exit=1"), ANA)
        failed = await lab.until(3, ReleaseState.RESTORED)
        assert failed.reason.startswith("release 2 serves again; ")
        assert lab.running() == [running]
        assert daemon.lab.referee.violations == []
