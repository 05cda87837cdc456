"""Where a container of a service is published, and where its host finds it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hostler.daemon import service_news
from hostler.daemon.context import Context
from hostler.model.config import Config, HostConfig
from hostler.model.plans import MarkReady
from hostler.model.services import HealthCheck, Service
from hostler.runtimes.docker.publish import as_service
from hostler_agent.inspected import published
from hostler_agent.json_values import Json, Message
from tests.support.values import planning as lab

BODY: Any = {"Env": [], "Labels": {"a": "b"}, "HostConfig": {}}
SERVICE = Service(HealthCheck(), port=8000)


def _ports(*ips: str) -> Message:
    bound: list[Json] = [{"HostIp": ip, "HostPort": "32768"} for ip in ips]
    return {"NetworkSettings": {"Ports": {"8000/tcp": bound}}}


@pytest.mark.parametrize("address", [None, "10.0.0.2", "fd00::2"])
def test_a_container_is_published_at_one_address(address: str | None) -> None:
    made = as_service(BODY, SERVICE, address)
    where = address or "127.0.0.1"
    bindings = made["HostConfig"]["PortBindings"]
    assert bindings == {"8000/tcp": [{"HostIp": where, "HostPort": ""}]}
    labels = cast(Message, made["Labels"])
    assert published(labels, _ports("0.0.0.0", where)) == (where, 32768)
    assert published(labels, _ports("0.0.0.0", "10.9.9.9")) is None


@pytest.mark.parametrize(
    ("said", "taken"), [("10.0.0.2", "10.0.0.2"), ("10.0.0.9", None), (None, None)]
)
def test_a_host_cannot_send_requests_to_another_address(
    said: str | None, taken: str | None
) -> None:
    """It may say anything of itself: the gateway would connect there."""
    lan = HostConfig("gpu1", reach="lan", lan_address="10.0.0.2")
    context = cast(Context, SimpleNamespace(config=Config(hosts=(lan,))))
    action = MarkReady(lab.attempt("r1", host="gpu1"), 80, said)
    assert service_news._known_address(context, action) == taken
    gone = SimpleNamespace(config=Config(hosts=(replace(lan, name="gpu2"),)))
    assert service_news._known_address(cast(Context, gone), action) is None
