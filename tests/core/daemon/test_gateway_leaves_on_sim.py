"""A gateway whose host is taken out of the config."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hostler.daemon.submit import Submission
from hostler.model.gateway_config import GatewayConfig
from tests.core.daemon.test_service_kills_on_sim import ANA, submission
from tests.support.daemons.simdaemon import SimDaemon
from tests.support.daemons.simgateway import QUICK, SimGateway
from tests.support.daemons.simlab import faults_on, small_lab

TIMINGS = replace(QUICK, sweep_hosts_every=0.01)


async def _without_its_host(daemon: SimDaemon) -> None:
    hosts = tuple(host for host in daemon.config.hosts if host.name != "gpu1")
    await daemon.daemon.fleet.apply(replace(daemon.config, hosts=hosts, gateway=GatewayConfig()))


async def test_it_is_ended_before_its_host_is_forgotten(tmp_path: Path) -> None:
    gateway = SimGateway(small_lab(2), "gpu1")
    async with gateway.daemon(tmp_path, TIMINGS) as daemon:
        monitors = daemon.daemon.context.monitors
        wanted = submission(1)
        text = str(wanted.pipeline).replace("{ gpus = 1 }", '{ gpus = 1, host = "gpu2" }')
        await daemon.daemon.service.submit(Submission(pipeline=text), ANA)

        def is_seen() -> bool:
            look = monitors["gpu1"].host.look
            return look is not None and any(w.attempt_id == gateway.job for w in look.workloads)

        await daemon.until(lambda: gateway.is_running and is_seen(), "the gateway runs")
        faults_on(gateway.lab, "gpu1").cut()
        await daemon.until(lambda: not monitors["gpu1"].is_connected, "its host is silent")
        await _without_its_host(daemon)
        assert "gpu1" in daemon.daemon.context.monitors
        assert gateway.is_running
        faults_on(gateway.lab, "gpu1").heal()
        await daemon.until(lambda: not gateway.job, "it is ended")
        await daemon.until(lambda: "gpu1" not in daemon.daemon.context.monitors, "its host goes")
