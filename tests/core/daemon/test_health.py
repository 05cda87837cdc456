"""What a daemon knows of hosts on which nothing starts, and who tells that they are well again."""

from __future__ import annotations

from typing import Any

from hostler.daemon.health import Health
from hostler.decide.start_failures import Fault
from tests.support.values import planning as lab

CONTAINER: dict[str, Any] = {"runtime": "docker", "image": "a:1"}


def test_a_start_that_ends_what_ails_a_host_is_told_once() -> None:
    health, run = Health(), lab.run("r-1", lab.stage("train", **CONTAINER))
    first = lab.attempt(host="a", runtime="docker")
    health.failed(run, run.stages[0], first, Fault.HOST, "containerd is down", lab.NOW)
    assert not health.has_started("a", lab.NOW), "it ails"
    assert health.started(first, lab.NOW + 1), "who started there tells of it"
    assert not health.has_started("a", lab.NOW), "and nobody else, though the alert still stands"
    assert not health.started(first, lab.NOW + 2)


def test_a_start_where_an_earlier_daemon_told_of_an_ailment_is_seen() -> None:
    health = Health()
    assert not health.has_started("a", lab.NOW)
    assert not health.started(lab.attempt(host="a", runtime="docker"), lab.NOW + 1)
    assert health.has_started("a", lab.NOW), "nothing is known to ail it, and something started"
    assert not health.has_started("b", lab.NOW)
