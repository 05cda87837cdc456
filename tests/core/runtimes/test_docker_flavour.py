from __future__ import annotations

import copy
from typing import Any

import pytest

from hostler.runtimes.docker.explain import explain
from hostler.runtimes.docker.flavour import Flavour, is_podman, is_rootless, suited

# As Podman 5.4.2 (rootless, Debian 13) and Docker 26.1.5 answered.
PODMAN: Any = {"Components": [{"Name": "Podman Engine", "Version": "5.4.2"}, {"Name": "Conmon"}]}
DOCKER: Any = {"Components": [{"Name": "Engine", "Version": "26.1.5"}, {"Name": "containerd"}]}
BODY: Any = {
    "Image": "i",
    "HostConfig": {"Init": True, "LogConfig": {"Type": "local", "Config": {}}},
}


def test_podman_is_told_from_docker() -> None:
    assert is_podman(PODMAN)
    assert not is_podman(DOCKER)
    assert not is_podman({})
    assert is_rootless({"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]})
    assert not is_rootless({"SecurityOptions": None})


def test_podman_gets_a_log_it_has_and_keeps_the_logins_id() -> None:
    before = copy.deepcopy(BODY)
    mine = suited(BODY, Flavour(podman=True, rootless=True), 1000)["HostConfig"]
    assert mine["LogConfig"] == {"Type": "k8s-file", "Config": {"max-size": "1000b"}}
    assert mine["UsernsMode"] == "keep-id"
    assert mine["Init"] is True
    asked: Any = {**BODY, "Healthcheck": {"Test": ["CMD", "true"]}}
    assert suited(asked, Flavour(podman=True), 1000)["Healthcheck"] == {"Test": ["NONE"]}
    assert suited(asked, Flavour(), 1000) == asked
    assert "UsernsMode" not in suited(BODY, Flavour(podman=True), 1000)["HostConfig"]
    assert suited(BODY, Flavour(), 1000) == BODY == before


def test_limits_are_raised_where_the_engine_may() -> None:
    body: Any = {**BODY, "HostConfig": {**BODY["HostConfig"], "Ulimits": [{"Name": "memlock"}]}}
    assert suited(body, Flavour(), 1000) == body
    assert "Ulimits" in suited(body, Flavour(podman=True), 1000)["HostConfig"]
    for flavour in (Flavour(rootless=True), Flavour(True, True), Flavour(limits=False)):
        assert "Ulimits" not in suited(body, flavour, 1000)["HostConfig"]


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ('exec: "catatonit": executable file not found in $PATH', "init program", "catatonit"),
        ("netavark: nftables error: unable to execute nft", "a network", "[docker]"),
    ],
)
def test_what_podman_lacks_is_named(text: str, message: str, remedy: str) -> None:
    said, fix = explain("gpu1", "starting", 500, text)
    assert message in said
    assert remedy in fix
