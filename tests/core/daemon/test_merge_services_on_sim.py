"""A daemon that is restored from a backup, and what hosts have noted of services since."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.daemon.audit import Audit
from hostler.daemon.service_wishes import ServiceWishes
from hostler.model.releases import ReleaseState
from tests.core.daemon.test_deploys_on_sim import ANA, Lab, submission
from tests.core.daemon.test_services_on_sim import service
from tests.support.daemons.restoring import back_up, restored
from tests.support.daemons.simdaemon import SimDaemon
from tests.support.daemons.simlab import faults_on, small_lab

pytestmark = pytest.mark.timeout(60)


async def test_a_service_goes_on_with_the_release_of_after_the_backup(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path / "old") as old:
        lab = Lab(old)
        first = await lab.deploy(submission(1))
        await lab.until(1, ReleaseState.LIVE)
        file = await back_up(old)
        second = await lab.deploy(submission(2))
        await lab.until(2, ReleaseState.LIVE)
        await old.finished(first.run_id)
        (running,) = lab.running()
        (used,) = [h for h in old.lab.hosts.values() if running in h.works]
        (other,) = [h for h in old.lab.hosts.values() if h is not used]
        await old.kill()
        faults_on(old.lab, used.name).cut()
        async with restored(old, file) as new:
            lab = Lab(new)
            standing = new.daemon.context.standing
            await new.until(lambda: other.name in standing.merged, "the other host is merged")
            new.daemon.controller.step()
            # What the backup knows is old: nothing is decided by it, and nothing begun elsewhere.
            assert new.daemon.controller.plan.releases["digits"].startswith("waits for the notes")
            assert not any(work.running for work in other.works.values())
            faults_on(old.lab, used.name).heal()
            await new.until(lambda: used.name in standing.merged, "it is merged")
            assert lab.state_of(2) is ReleaseState.LIVE
            assert lab.running() == [running]
            third = await lab.deploys.rollback("digits", None, ANA)
            assert (third.number, third.replaces) == (3, 2)
            await lab.until(3, ReleaseState.LIVE)
            assert (await new.run(third.run_id)).stages[0].env["VERSION"] == "1"
            assert running.startswith(second.run_id)
            assert new.lab.referee.violations == []


async def test_what_was_wanted_of_a_service_after_the_backup_counts(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1, gpus=4), tmp_path / "old") as old:
        run_id = await old.submit(*service(gpus=1, replicas=1))
        await old.attempt(run_id, lambda a: a.ready_at is not None)
        file = await back_up(old)
        wishes = ServiceWishes(old.daemon.context, Audit(old.daemon.context))
        await wishes.scale("serve", 2, ANA)
        await old.attempt(run_id, lambda a: a.stage == "serve.1" and a.ready_at is not None)
        await old.kill()
        async with restored(old, file) as new:
            await new.until(lambda: not new.daemon.context.standing.unmerged(["gpu1"]), "merged")
            run = await new.run(run_id)
            assert run.services["serve"].replicas == 2
            assert {a.stage for a in run.attempts} == {"serve.0", "serve.1"}
            assert not [a for a in run.attempts if a.phase.is_final]
