"""A replica on a host that is silent for the daemon, for the gateway, or for both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from hostler.daemon.services import list_services
from hostler.daemon.submit import Submission
from hostler.model.config import Config
from hostler.model.gateway_config import GatewayConfig
from hostler.model.plans import Policy
from hostler.model.runs import Attempt
from hostler.model.views.services import ReplicaView
from tests.core.sim.test_gateway import ANA, QUICK
from tests.support.daemons.simdaemon import SimDaemon
from tests.support.daemons.simlab import faults_on, small_lab

FILE = """
name = "web"
[defaults]
code = "none"
[stages.serve]
kind = "service"
command = "serve"
health = "/"
lost_after = "1s"
resources = { gpus = 1, host = "gpu[23]" }
env = { SIM = "seconds=3600 ready=0.05" }
"""


def _config(config: Config) -> Config:
    policy = Policy(fresh_for=0.5, release_patience=0.1)
    return replace(config, gateway=GatewayConfig(host="gpu1"), policy=policy)


def _attempts(daemon: SimDaemon) -> tuple[Attempt, ...]:
    (run,) = daemon.daemon.context.run_cache.runs()
    return run.attempts


def _replica(daemon: SimDaemon) -> ReplicaView:
    (service,) = list_services(daemon.daemon.context, {}).services
    return service.replicas[0]


async def test_a_replica_is_replaced_once_neither_daemon_nor_gateway_reaches_it(
    tmp_path: Path,
) -> None:
    lab = small_lab(3)
    async with SimDaemon(lab, tmp_path, change=_config, timings=QUICK) as daemon:
        context = daemon.daemon.context
        await daemon.daemon.service.submit(Submission(pipeline=FILE), ANA)
        await daemon.until(lambda: any(s.is_up for s in context.at_gateway.values()), "not served")
        (first,) = _attempts(daemon)
        faults = faults_on(lab, first.host)

        # Cut from the daemon alone.
        with patch("hostler.sim.gateway._neighbour", lambda host, name: host.neighbours[name]):
            faults.cut()
            kept = lambda: "so it is kept" in (_replica(daemon).error or "")  # noqa: E731
            await daemon.until(kept, "it is not kept")
            now = daemon.clock.now()
            await daemon.until(lambda: daemon.clock.now() > now + 2, "the time stands still")
            assert len(_attempts(daemon)) == 1
        # And from the gateway: another one serves, and what still runs is stopped when it returns.
        await daemon.until(lambda: len(_attempts(daemon)) == 2, "it is not replaced")
        second = _attempts(daemon)[1]
        assert second.host != first.host
        await daemon.until(lambda: list(context.at_gateway) == [second.attempt_id], "not moved")
        assert lab.host(first.host).works[first.attempt_id].running
        faults.heal()
        await daemon.until(lambda: first.attempt_id not in lab.host(first.host).works, "it runs")
        assert len(_attempts(daemon)) == 2
