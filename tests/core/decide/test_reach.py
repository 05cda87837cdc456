"""How the gateway reaches replicas on other hosts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hostler.decide.reach import Reach, reaches, ssh_words, unreached
from hostler.decide.routes import routes
from hostler.model.config import Config, HostConfig
from hostler.model.gateway import Replica, ServerState, Through
from hostler.model.gateway_config import GatewayConfig
from hostler.model.pipelines import Resources
from hostler.model.services import HealthCheck, Service
from tests.support.values import planning as lab

GPU2 = HostConfig("gpu2", address="10.0.0.2", port=2222, user="ana", key="/k", jump="j")


def _config(*hosts: HostConfig, gateway: str | None = "gpu1", **changes: Any) -> Config:
    own = HostConfig("gpu1", **changes)
    return Config(hosts=(own, *hosts), gateway=GatewayConfig(host=gateway))


def test_other_hosts_are_reached_by_the_login_of_the_gateway() -> None:
    found = reaches(_config(GPU2, HostConfig("gpu3", reach="none"), HostConfig("gpu4")))
    elsewhere = ("-p", "2222", "-l", "ana", "10.0.0.2")
    assert found == {
        "gpu1": Reach(),
        "gpu2": Reach(Through("gpu2", elsewhere)),
        "gpu4": Reach(Through("gpu4", ("gpu4",))),
    }
    # On the daemon's own machine its key and jump host are meant, too.
    found = reaches(_config(GPU2, transport="local"))
    options = ("-i", "/k", "-o", "IdentitiesOnly=yes", "-J", "j")
    assert found["gpu2"].through == Through("gpu2", (*elsewhere[:4], *options, "10.0.0.2"))
    assert ssh_words(replace(GPU2, key="~/k"), is_here=True)[5].endswith("/k")
    assert reaches(_config(GPU2, gateway=None)) == reaches(_config(GPU2, gateway="gone")) == {}


def test_a_service_that_may_be_on_a_host_that_is_not_reached_is_not_served() -> None:
    found = reaches(_config(HostConfig("gpu2"), HostConfig("cpu1", reach="none")))

    def where(*globs: str) -> str | None:
        stage = lab.stage("serve.0", service=Service(HealthCheck()))
        stage = replace(stage, resources=Resources(hosts=globs))
        run = lab.run("r1", lab.stage("prepare"), stage)
        return unreached(run, ["gpu1", "gpu2", "cpu1"], found)

    assert (where("gpu*"), where("gpu1", "gpu2")) == (None, None)
    assert (where(), where("cpu1"), where("c*")) == ("cpu1", "cpu1", "cpu1")
    assert where("gone") is None


def test_a_replica_is_reached_where_it_was_published() -> None:
    """Whatever the config says now: what runs already stays where it is."""
    lan = HostConfig("gpu2", reach="lan", lan_address="10.0.0.2")
    for host in (lan, HostConfig("gpu2")):
        reach = reaches(_config(host))["gpu2"]
        there = lab.attempt("r1", gpus=(), ready_at=5.0, port=8001, address="10.0.0.2")
        assert reach.server(there, ServerState.READY) == Replica("r1-train-1", "10.0.0.2:8001")
        six = replace(there, address="fd00::2")
        assert reach.server(six, ServerState.DRAIN).address == "[fd00::2]:8001"
        near = reach.server(replace(there, address=None), ServerState.READY)
        assert (near.address, near.through) == ("127.0.0.1:8001", Through("gpu2", ("gpu2",)))
    assert (lan.published_at, replace(lan, reach="ssh").published_at) == ("10.0.0.2", None)


def test_replicas_of_all_hosts_that_are_reached_are_served() -> None:
    stages = [
        lab.stage(f"serve.{n}", base="serve", service=Service(HealthCheck(), replicas=3))
        for n in range(3)
    ]
    hosts = ("gpu1", "gpu2", "cpu1")
    attempts = [
        lab.attempt("r1", f"serve.{n}", gpus=(), ready_at=5.0, port=8000 + n, host=hosts[n])
        for n in range(3)
    ]
    run = lab.run("r1", *stages, attempts=attempts)
    config = _config(HostConfig("gpu2"), HostConfig("cpu1", reach="none"))
    found = routes(config.gateway, [run], (), 0.0, reaches=reaches(config))
    (service,) = found.wanted.services
    assert service.replicas == (
        Replica("r1-serve.0-1", "127.0.0.1:8000"),
        Replica("r1-serve.1-1", "127.0.0.1:8001", through=Through("gpu2", ("gpu2",))),
    )
