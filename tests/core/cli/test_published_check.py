"""What `hostler doctor` says of services that are open to the network."""

from __future__ import annotations

from dataclasses import replace

from hostler.cli.checks import check_published
from hostler.model.config import Config, HostConfig

LAN = HostConfig("gpu2", reach="lan", lan_address="10.0.0.2")


def test_hosts_whose_services_everybody_reaches_are_named() -> None:
    near = replace(LAN, name="gpu3", reach="ssh")
    assert check_published(Config(hosts=(near,))) == []
    (found,) = check_published(Config(hosts=(LAN, near)))
    assert (found.name, found.state) == ("local.published", "warn")
    assert "gpu2 (10.0.0.2)" in found.message
    assert "gpu3" not in found.message
    assert 'remove reach = "lan"' in found.remedy
