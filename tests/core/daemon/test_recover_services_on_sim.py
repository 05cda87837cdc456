"""A lost database, and services that come back with their releases from signed notes on hosts."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from hostler.daemon.audit import Audit
from hostler.daemon.context import Context
from hostler.daemon.copy_format import Signer
from hostler.daemon.note_writing import note_service
from hostler.daemon.recover import Survey, restore
from hostler.daemon.service_notes import decode_service, encode_service
from hostler.daemon.service_wishes import ServiceWishes
from hostler.model.releases import ReleaseState, ServiceNote
from hostler.model.runs import Outcome
from tests.core.daemon.test_deploys_on_sim import ANA, BO, Lab, submission
from tests.core.daemon.test_recover_on_sim import look_around, lose_database
from tests.core.daemon.test_scaled_releases_on_sim import Scaled
from tests.core.daemon.test_services_on_sim import service
from tests.support.daemons.simdaemon import SimDaemon
from tests.support.daemons.simlab import small_lab

pytestmark = pytest.mark.timeout(60)


async def deployed_twice(daemon: SimDaemon) -> Lab:
    """Release 1 was live, and release 2 is."""
    lab = Lab(daemon)
    first = await lab.deploy(submission(1))
    await lab.until(1, ReleaseState.LIVE)
    await lab.deploy(submission(2))
    await lab.until(2, ReleaseState.LIVE)
    await daemon.finished(first.run_id)
    hosts = [daemon.lab.host(name) for name in daemon.lab.hosts]
    await daemon.until(
        lambda: not any(first.run_id in key for host in hosts for key in host.records),
        "its copies are removed",
    )
    return lab


async def lost(daemon: SimDaemon) -> Survey:
    await daemon.kill()
    lose_database(daemon.state)
    return await look_around(daemon)


def note_on(daemon: SimDaemon, host: str = "gpu1") -> ServiceNote:
    (line,) = daemon.lab.host(host).notes.values()
    return decode_service(line, "digits", Signer(daemon_id(daemon), None))[0]


def daemon_id(daemon: SimDaemon) -> str:
    return (daemon.state / "id").read_text().strip()


async def test_a_service_comes_back_with_its_replicas_and_its_earlier_releases(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        lab = await deployed_twice(daemon)
        running = lab.running()
        told = await lost(daemon)
        (service,) = told.services
        assert (service.is_signed, service.found.hosts) == (True, ("gpu1",))
        await restore(tmp_path, told.recovery.runs, "ana", told.services)
        await restore(tmp_path, told.recovery.runs, "ana", told.services)  # as after a kill of it
        await daemon.begin()
        assert lab.state_of(2) is ReleaseState.LIVE
        deployment = daemon.daemon.context.services["digits"].deployment
        assert (deployment.owner, deployment.uid, deployment.replicas) == ("ana", 1000, 1)
        first = (await lab.deploys.releases("digits"))[1]
        assert (first.number, first.state) == (1, ReleaseState.RETIRED)
        assert (await daemon.run(first.run_id)).outcome is Outcome.SUCCEEDED
        third = await lab.deploys.rollback("digits", None, ANA)
        assert (third.number, third.replaces) == (3, 2)
        assert lab.running() == running  # adopted, until the release takes over
        await lab.until(3, ReleaseState.LIVE)
        assert (await daemon.run(third.run_id)).stages[0].env["VERSION"] == "1"
        assert daemon.lab.referee.violations == []
        assert note_on(daemon).order > service.found.note.order


@pytest.mark.parametrize("state", ["delivering", "starting", "shifting"])
async def test_a_database_lost_while_a_release_takes_over_costs_nothing(
    tmp_path: Path, state: str
) -> None:
    async with SimDaemon(small_lab(1, gpus=2), tmp_path) as daemon:
        lab = Lab(daemon)
        await lab.deploy(submission(1))
        await lab.until(1, ReleaseState.LIVE)
        came = asyncio.Event()

        async def noted(context: Context, name: str) -> None:
            await note_service(context, name)
            if note_on(daemon).releases[0].state == state:
                came.set()
                await asyncio.Event().wait()  # until the daemon is killed: nobody knows of it yet

        with patch("hostler.daemon.releases.note_service", noted):
            deploying = asyncio.create_task(lab.deploy(submission(2)))
            await came.wait()
            told = await lost(daemon)
            deploying.cancel()
            await asyncio.gather(deploying, return_exceptions=True)
        second, live = told.services[0].found.note.releases
        assert (second.state, live.state) == (state, ReleaseState.LIVE)
        await restore(tmp_path, told.recovery.runs, "ana", told.services)
        await daemon.begin()
        await lab.until(2, ReleaseState.LIVE)
        (running,) = lab.running()
        assert running.startswith(second.run_id)
        assert daemon.lab.referee.violations == []


async def test_the_note_of_a_step_is_on_the_host_before_the_step_is_shown(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        lab = await deployed_twice(daemon)
        context = daemon.daemon.context
        shown: list[tuple[int, int]] = []

        def passed(name: str) -> None:
            if name == "after_service_note":
                known = context.services["digits"].deployment.revision
                shown.append((note_on(daemon).deployment.revision, known))

        with patch("hostler.daemon.note_writing.failpoint", passed):
            await lab.deploys.rollback("digits", None, ANA)
            await lab.until(3, ReleaseState.LIVE)
        assert len(shown) > 3
        assert all(noted > known for noted, known in shown)


async def test_without_the_key_a_service_is_shown_and_taken_by_name_only(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        lab = await deployed_twice(daemon)
        await daemon.kill()
        lose_database(tmp_path)
        (tmp_path / "copies.key").unlink()
        told = await look_around(daemon)
        (service,), (rebuilt,) = told.services, told.recovery.runs
        assert service.found.doubts == ("gpu1: it is not signed by this daemon's key",)
        assert rebuilt.doubts
        # Taken without the run of its live release it serves nothing, and starts nothing.
        await restore(tmp_path, [], "ana", told.services)
        await daemon.begin()
        live = (await lab.deploys.releases("digits"))[0]
        assert (live.number, live.state) == (2, ReleaseState.LIVE)
        assert (await daemon.run(live.run_id)).outcome is Outcome.CANCELLED


async def test_of_hosts_that_lie_the_newest_signed_note_counts(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(3), tmp_path) as daemon:
        lab = Lab(daemon)
        await lab.deploy(submission(1))
        await lab.until(1, ReleaseState.LIVE)
        hosts = [daemon.lab.host(name) for name in ("gpu1", "gpu2", "gpu3")]
        used = next(host for host in hosts if host.notes)
        old = dict(used.notes)
        await lab.deploy(submission(2))
        await lab.until(2, ReleaseState.LIVE)
        (key,) = used.notes
        newest = note_on(daemon, used.name)
        told = await lost(daemon)
        count = len(told.services[0].found.hosts)
        higher = replace(newest.deployment, revision=999, owner="eve", uid=BO.uid)
        forged = encode_service(
            replace(newest, deployment=higher), Signer(daemon_id(daemon), b"x" * 32)
        )
        others = [host for host in hosts if host is not used and not host.notes]
        others[0].notes.update(old)
        if len(others) > 1:
            others[1].notes[key] = forged
        told = await look_around(daemon)
        (service,) = told.services
        assert service.is_signed
        assert service.found.note == newest
        assert len(service.found.hosts) == count
        if len(others) > 1:
            assert f"{others[1].name}: its note about service digits is not used" in str(
                told.problems
            )


async def test_a_host_that_was_silent_gets_the_note_when_it_answers(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        await deployed_twice(daemon)
        host, context = daemon.lab.host("gpu1"), daemon.daemon.context
        host.notes.clear()
        context.noted.revisions["gpu1", "digits"] -= 1  # as if the last one had not arrived
        await daemon.until(lambda: bool(host.notes), "the note is written")
        wanted = context.services["digits"].deployment.revision
        assert note_on(daemon).deployment.revision == wanted


async def test_how_many_replicas_people_want_comes_back(tmp_path: Path) -> None:
    every = ("hostler.daemon.scaling", "hostler.decide.releases.opening")
    with patch(f"{every[0]}.check_direct"), patch(f"{every[1]}.check_direct"):
        async with SimDaemon(small_lab(1, gpus=4), tmp_path) as daemon:
            lab = Scaled(daemon)
            await lab.deploy(submission(1))
            await lab.until(1, ReleaseState.LIVE)
            await lab.scale(3)
            await lab.settled(3)
            running = lab.running()
            await recovered(daemon)
            await lab.settled(3)
            assert lab.running() == running
            await lab.scale(0)
            await lab.settled(0)
            await recovered(daemon)
            await lab.settled(0)
            assert daemon.lab.referee.violations == []


async def test_what_people_want_of_a_service_without_releases_comes_back(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1, gpus=4), tmp_path) as daemon:
        run_id = await daemon.submit(*service(gpus=1))
        audit = Audit(daemon.daemon.context)

        def wished() -> set[str]:
            """What the notes on the host say last."""
            (lines,) = (record[1] for record in daemon.lab.host("gpu1").records.values())
            return {str(json.loads(lines.splitlines()[-1])["services"])}

        await ServiceWishes(daemon.daemon.context, audit).scale("serve", 2, ANA)
        await daemon.attempt(run_id, lambda a: a.stage == "serve.1" and a.ready_at is not None)
        await daemon.until(lambda: "'replicas': 2" in str(wished()), "it is noted")
        await recovered(daemon)
        run = await daemon.run(run_id)
        assert (len(run.stages), run.services["serve"].scaled_by) == (2, "ana")
        assert {a.stage for a in run.attempts} == {"serve.0", "serve.1"}
        await ServiceWishes(daemon.daemon.context, audit).stop("serve", ANA)
        assert (await daemon.finished(run_id)).outcome is Outcome.CANCELLED


async def recovered(daemon: SimDaemon) -> None:
    """After its database was lost."""
    told = await lost(daemon)
    await restore(daemon.state, told.recovery.runs, "ana", told.services)
    await daemon.begin()
