"""The gateway of the simulated lab, driven by the real daemon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hostler.base.errors import EngineError
from hostler.daemon.deploys import Wanted, deploys_of
from hostler.daemon.services import list_services
from hostler.daemon.submit import Submission
from hostler.model.calls import Caller
from hostler.model.config import Config
from hostler.model.gateway_config import GatewayConfig, job_id_of
from hostler.model.releases import ReleaseState
from hostler.model.views.services import ServiceView
from tests.support.daemons.simdaemon import FAST, SimDaemon
from tests.support.daemons.simlab import faults_on, small_lab

ANA = Caller(1000, "ana")
FILE = """
name = "digits"
[defaults]
code = "none"
[stages.serve]
kind = "service"
command = "serve"
replicas = 2
health = "/"
drain = "1s"
resources = { gpus = 1, host = "gpu1" }
env = { SIM = "seconds=3600 ready=0.05 rate=200 latency=40", VERSION = "NUMBER" }
"""
QUICK = replace(
    FAST, gateway_every=0.02, no_gateway=0.02, traffic_every=0.02,
    gateway=replace(FAST.gateway, poll=0.01),
)  # fmt: skip


def with_gateway(config: Config) -> Config:
    return replace(config, gateway=GatewayConfig(host="gpu1"))


async def deploy(daemon: SimDaemon, number: int, file: str = FILE) -> None:
    text = file.replace("NUMBER", str(number))
    await deploys_of(daemon.daemon.service).deploy(Wanted(Submission(pipeline=text)), ANA)

    def is_live() -> bool:
        releases = daemon.daemon.context.services["digits"].releases
        return any(r.number == number and r.state is ReleaseState.LIVE for r in releases)

    await daemon.until(
        is_live, f"release {number} is not live; {daemon.daemon.service.gateways.problem}"
    )


def service(daemon: SimDaemon) -> ServiceView:
    parts = daemon.daemon
    found = list_services(parts.context, parts.controller.plan.reasons)
    return parts.service.gateways.with_urls(found).services[-1]


async def test_releases_take_over_behind_it_and_their_requests_are_counted(tmp_path: Path) -> None:
    lab = small_lab(hosts=2, gpus=4, speed=4.0)
    async with SimDaemon(lab, tmp_path, change=with_gateway, timings=QUICK) as daemon:
        await deploy(daemon, 1)
        await deploy(daemon, 2)
        shown = service(daemon)
        assert (shown.url, shown.ready) == ("http://127.0.0.1:8080/digits/", 2)
        await daemon.until(lambda: _requests(service(daemon)) > 100, "no requests are counted")
        recent = service(daemon).traffic
        assert recent is not None
        assert recent.failed == 0
        assert recent.p50_ms == pytest.approx(40, rel=0.25)
        gateway = job_id_of(daemon.daemon.context.daemon_id)
        work = lab.host("gpu1").works
        await daemon.until(lambda: sum(w.running for w in work.values()) == 3, "old replicas run")
        assert work[gateway].running


async def test_replicas_on_other_hosts_are_reached_as_by_ssh(tmp_path: Path) -> None:
    lab = small_lab(hosts=3, gpus=1, speed=4.0)
    async with SimDaemon(lab, tmp_path, change=with_gateway, timings=QUICK) as daemon:
        await deploy(daemon, 1, FILE.replace('"gpu1"', '"gpu[23]"'))
        await daemon.until(lambda: _requests(service(daemon)) > 100, "no requests are counted")
        shown = service(daemon)
        assert {replica.host for replica in shown.replicas} == {"gpu2", "gpu3"}
        assert shown.traffic is not None
        assert shown.traffic.failed == 0
        haproxy = lab.host("gpu1").gateways[daemon.daemon.context.daemon_id]
        faults_on(lab, "gpu2").cut()

        def is_half_up() -> bool:
            told = haproxy.answer("@1 show stat", lab.clock.now())
            return ",UP," in told and ",DOWN," in told

        await daemon.until(is_half_up, "it does not see that a host is gone")


async def test_a_gateway_that_died_with_its_host_serves_again(tmp_path: Path) -> None:
    lab = small_lab(hosts=2, gpus=4, speed=4.0)
    async with SimDaemon(lab, tmp_path, change=with_gateway, timings=QUICK) as daemon:
        await deploy(daemon, 1)
        link = daemon.daemon.context.link("gpu1")
        folder = (await link.call("gateway.put", {"gateway": daemon.daemon.context.daemon_id}))[
            "folder"
        ]
        faults_on(lab, "gpu1").reboot()
        gateway = job_id_of(daemon.daemon.context.daemon_id)
        works = lab.host("gpu1").works

        def serves() -> bool:
            gone = works.get(gateway)
            servers = lab.host("gpu1").gateways[daemon.daemon.context.daemon_id].servers
            up = sum(server.state == "ready" for server in servers.values())
            return gone is not None and gone.running and up == 2

        await daemon.until(serves, "it does not serve again")
        with pytest.raises(EngineError, match="nothing answers at"):
            await daemon.daemon.context.link("gpu1").open_socket(f"{folder}/other.sock")


def _requests(shown: ServiceView) -> int:
    return shown.traffic.requests if shown.traffic is not None else 0
