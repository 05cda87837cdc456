"""Host names and ports of services: who gets them, at submission and while they are served."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from hostler.base.errors import ConflictError, InputError
from hostler.daemon.deploys import Wanted, deploys_of
from hostler.daemon.services import list_services
from hostler.daemon.submit import Submission
from hostler.model.calls import Caller
from hostler.model.config import Config
from hostler.model.gateway_config import GatewayConfig
from hostler.model.releases import Release
from tests.core.sim.test_gateway import QUICK, service
from tests.support.daemons.simdaemon import SimDaemon
from tests.support.daemons.simlab import small_lab

ANA, BO = Caller(1000, "ana"), Caller(1001, "bo")
FILE = """
name = "NAME"
[defaults]
code = "none"
[stages.serve]
kind = "service"
command = "serve"
health = "/"
address = "ADDRESS"
resources = { host = "gpu2" }
env = { SIM = "seconds=3600 ready=0.05 rate=200 latency=40" }
"""


def _file(address: str, name: str = "digits") -> str:
    return FILE.replace("NAME", name).replace("ADDRESS", address)


def _with_gateway(config: Config) -> Config:
    return replace(config, gateway=GatewayConfig(host="gpu1"))


def _shared(config: Config) -> Config:
    gateway = GatewayConfig(host="gpu1", ports=("8100-8101",), hosts=("*.lab.example",))
    return replace(config, gateway=gateway, daemon=replace(config.daemon, allow=("ana", "bo")))


async def _deploy(lab: SimDaemon, address: str, who: Caller, name: str = "digits") -> Release:
    wanted = Wanted(Submission(pipeline=_file(address, name)))
    return await deploys_of(lab.daemon.service).deploy(wanted, who)


async def test_its_address_is_seen_everywhere_and_may_be_taken_back(tmp_path: Path) -> None:
    lab_ = small_lab(hosts=2, gpus=1, speed=4.0)
    async with SimDaemon(lab_, tmp_path, change=_shared, timings=QUICK) as lab:
        submitter, context = lab.daemon.service.submitter, lab.daemon.context
        for address, said in (
            (":8102", "gives services 8100-8101 only, not :8102"),
            (":8080", "port 8080 is the gateway's own"),
            ("a.b.lab.example", r"gives services \*.lab.example only"),
        ):
            with pytest.raises(InputError, match=f"stage serve, address: .*{said}"):
                await submitter.submit(Submission(pipeline=_file(address)), ANA, None)
            with pytest.raises(InputError, match=said):
                await _deploy(lab, address, ANA)
        run = await submitter.submit(Submission(pipeline=_file(":8101")), ANA, None)
        url = "http://127.0.0.1:8101/"
        await lab.until(lambda: service(lab).url == url, "it is not served")
        assert service(lab).url_on == "gpu1"
        assert (await lab.daemon.service.describe(run.run_id)).urls == {"serve": url}

        def has_requests() -> bool:
            traffic = service(lab).traffic
            return traffic is not None and traffic.requests > 50

        await lab.until(has_requests, "its requests are not counted")
        context.config = replace(
            context.config, gateway=replace(context.config.gateway, ports=("8100",))
        )

        def is_refused() -> bool:
            return "gives services 8100 only, not :8101" in (service(lab).no_url or "")

        await lab.until(is_refused, "what the owner has taken back is still served")
        with pytest.raises(InputError, match="8100 only"):
            await submitter.rerun(run.run_id, ANA, None, None, {})


async def test_of_three_deploys_one_gets_an_address(tmp_path: Path) -> None:
    lab_ = small_lab(hosts=2, gpus=1, speed=4.0)
    async with SimDaemon(lab_, tmp_path, change=_with_gateway, timings=QUICK) as lab:
        people = {"one": ANA, "two": BO, "three": ANA}
        tries = (_deploy(lab, ":8101", who, name) for name, who in people.items())
        found = dict(zip(people, await asyncio.gather(*tries, return_exceptions=True), strict=True))
        (held,) = (name for name, each in found.items() if isinstance(each, Release))
        for name, each in found.items():
            if name != held:
                assert isinstance(each, ConflictError)
                assert f"service {held} has the address :8101 at the gateway" in each.message
        await _until_live(lab, held, 1)
        url, (own,) = "http://127.0.0.1:8101/", lab.daemon.context.run_cache.runs()
        await lab.until(lambda: _shown(lab)[own.run_id] == url, "it is not served")
        # A release that moves elsewhere gives it back, and what waited for it gets it.
        submitter = lab.daemon.service.submitter
        waits = await submitter.submit(Submission(pipeline=_file(":8101", "late")), BO, None)
        problem = f"service {held} has the address :8101"
        await lab.until(lambda: _shown(lab).get(waits.run_id) == problem, "it is not said whose")
        await _deploy(lab, "/elsewhere/", people[held], held)
        await _until_live(lab, held, 2)
        await lab.until(lambda: _shown(lab).get(waits.run_id) == url, "it is not given back")
        with pytest.raises(ConflictError, match=f"run {waits.run_id} has the address :8101"):
            await deploys_of(lab.daemon.service).rollback(held, None, people[held])


async def _until_live(lab: SimDaemon, name: str, number: int) -> None:
    releases = lab.daemon.context.services

    def is_live() -> bool:
        found = releases[name].live
        return found is not None and found.number == number

    await lab.until(is_live, f"release {number} is not live")


def _shown(lab: SimDaemon) -> dict[str, str | None]:
    """Run -> where its service is served, or why it is not."""
    parts = lab.daemon
    found = list_services(parts.context, parts.controller.plan.reasons)
    shown = parts.service.gateways.with_urls(found).services
    return {each.run_id: each.url or each.no_url for each in shown}
