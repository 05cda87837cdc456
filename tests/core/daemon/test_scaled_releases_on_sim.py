"""More and fewer replicas of a service that was deployed, and none, on a simulated lab."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from hostler.base.errors import ConflictError, ForbiddenError, InputError
from hostler.daemon.deploys import Wanted
from hostler.daemon.service_wishes import ServiceWishes
from hostler.daemon.services import list_services
from hostler.daemon.submit import Submission
from hostler.model.releases import ReleaseState
from hostler.model.runs import Outcome
from hostler.model.views.services import ServiceView
from tests.core.daemon.test_deploys_on_sim import ANA, BO, Lab, submission
from tests.support.daemons.simdaemon import SimDaemon
from tests.support.daemons.simlab import small_lab


class Scaled(Lab):
    """A lab whose service is scaled."""

    async def scale(self, number: int, name: str = "digits") -> None:
        context, service = self.daemon.daemon.context, self.daemon.daemon.service
        await ServiceWishes(context, service.audit).scale(name, number, ANA)

    def shown(self) -> ServiceView:
        context = self.daemon.daemon.context
        *_, found = list_services(context, self.daemon.daemon.controller.plan.reasons).services
        return found

    async def settled(self, number: int) -> None:
        """So many run, and no more are known to anybody."""

        def is_so() -> bool:
            there = self.shown()
            return (there.ready, there.wanted, len(there.replicas)) == (number, number, number)

        await self.daemon.until(is_so, f"{number} replicas are ready")
        assert len(self.running()) == number


def of(number: int, replicas: int) -> Submission:
    text = str(submission(number).pipeline).replace("env =", f"replicas = {replicas}\nenv =")
    return Submission(pipeline=text)


async def test_a_release_is_paused_and_goes_on_without_a_gateway(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        lab = Scaled(daemon)
        await lab.deploy(submission(1))
        with pytest.raises(ConflictError, match="ana has been deploying release 1"):
            await lab.scale(0)
        await lab.until(1, ReleaseState.LIVE)
        with pytest.raises(InputError, match="only one replica of it can be reached"):
            await lab.scale(2)
        for count in (-1, 65):
            with pytest.raises(InputError, match="0 to 64 replicas"):
                await lab.scale(count)
        context = daemon.daemon.context
        with pytest.raises(ForbiddenError, match="service digits belongs to ana"):
            await ServiceWishes(context, daemon.daemon.service.audit).scale("digits", 0, BO)
        await lab.scale(0)
        await lab.settled(0)
        assert (lab.shown().state, lab.shown().error) == ("waiting", "it was scaled to 0")
        gpu1 = daemon.lab.host("gpu1")
        await daemon.until(lambda: not gpu1.leases, "its GPU is given back")
        await daemon.kill()
        await daemon.begin()
        await lab.settled(0)
        await lab.scale(1, "serve")
        await lab.settled(1)
        await lab.scale(0)
        await lab.settled(0)
        made = await lab.deploys.plan(Wanted(submission(2)), ANA)
        assert made.view().changes[-1] == "replicas: 1, as the file says (it was scaled to 0)"
        await lab.deploy(submission(2))
        await lab.until(2, ReleaseState.LIVE)
        await lab.settled(1)
        assert daemon.lab.referee.violations == []


@pytest.mark.parametrize(("point", "number"), [("before_wish", 1), ("after_wish", 0)])
async def test_a_daemon_that_is_killed_has_scaled_or_has_not(
    tmp_path: Path, point: str, number: int
) -> None:
    class Killed(Exception):
        pass

    def dies(name: str) -> None:
        if name == point:
            raise Killed

    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        lab = Scaled(daemon)
        await lab.deploy(submission(1))
        await lab.until(1, ReleaseState.LIVE)
        with patch("hostler.daemon.scaling.failpoint", dies), pytest.raises(Killed):
            await lab.scale(0)
        await daemon.kill()
        await daemon.begin()
        await lab.settled(number)
        await lab.scale(0)
        await lab.settled(0)
        (release,) = await lab.deploys.releases("digits")
        context = daemon.daemon.context
        await ServiceWishes(context, daemon.daemon.service.audit).stop("digits", ANA)
        assert (await daemon.finished(release.run_id)).outcome is Outcome.CANCELLED


async def test_a_number_stays_until_a_file_says_another_one(tmp_path: Path) -> None:
    every = ("hostler.daemon.scaling", "hostler.decide.releases.opening")
    with patch(f"{every[0]}.check_direct"), patch(f"{every[1]}.check_direct"):
        async with SimDaemon(small_lab(2, gpus=4), tmp_path) as daemon:
            lab = Scaled(daemon)
            await lab.deploy(of(1, 2))
            await lab.until(1, ReleaseState.LIVE)
            await lab.scale(4)
            await lab.settled(4)
            await lab.scale(1)
            await lab.settled(1)
            await lab.scale(3)
            await daemon.kill()
            await daemon.begin()
            await lab.settled(3)
            made = await lab.deploys.plan(Wanted(of(2, 2)), ANA)
            said = "replicas: 3, as it was scaled (the file says 2)"
            assert made.view().changes[-1] == said
            await lab.deploy(of(2, 2))
            await lab.until(2, ReleaseState.LIVE)
            await lab.settled(3)
            await lab.deploys.rollback("digits", None, ANA)
            await lab.until(3, ReleaseState.LIVE)
            await lab.settled(3)
            made = await lab.deploys.plan(Wanted(of(4, 1)), ANA)
            said = "replicas: 1, as the file says now (it was scaled to 3)"
            assert made.view().changes[-1] == said
            await lab.deploy(of(4, 1))
            await lab.until(4, ReleaseState.LIVE)
            await lab.settled(1)
            assert daemon.lab.referee.violations == []
