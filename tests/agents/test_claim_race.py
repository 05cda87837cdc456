"""Somebody starts a program by hand in the moment between a plan and its claim."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.agents import Agent
from tests.support.fake_nvml import FakeNvml, uuid_of

TRIES = int(os.environ.get("HOSTLER_TEST_CLAIM_TRIES", "1000"))


@pytest.fixture
def stranger() -> Iterator[int]:
    """The PID of a program that has nothing to do with Hostler."""
    process = subprocess.Popen(["sleep", "600"])
    yield process.pid
    process.kill()
    process.wait()


def claim(agent: Agent, attempt: str, *gpus: str) -> dict[str, object]:
    answer: dict[str, object] = agent.ask(
        "claim",
        gpus=list(gpus),
        attempt_id=attempt,
        daemon_id="d" * 32,
        owner="ana",
        memory_floor=1 << 30,
        ignore=[],
        until=None,
    )
    return answer


@pytest.mark.timeout(300)
def test_no_gpu_is_given_away_that_somebody_took_after_the_look(
    agent: Agent, gpus: FakeNvml, stranger: int
) -> None:
    taken, other = uuid_of(0), uuid_of(1)
    refused = 0
    for number in range(TRIES):
        assert all(not gpu["processes"] for gpu in agent.look()["gpus"]), "free at plan time"
        gpus.set(0, used=600, processes=[f"{stranger}:500"])
        answer = claim(agent, f"r-a-{number}", taken, other)
        assert not answer.get("lease_ids"), "a GPU in use was given away"
        assert str(stranger) in str(answer["refused"])
        refused += 1
        gpus.set(0, used=0, processes=[])
    assert refused == TRIES
    assert agent.look()["leases"] == [], "all or none: the other GPU was not kept"
    assert claim(agent, "r-a-last", taken, other)["lease_ids"]
