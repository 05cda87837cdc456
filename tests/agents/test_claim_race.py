"""Somebody starts a program by hand between a plan and its claim, or between claim and start."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.programs.agents import Agent, eventually
from tests.support.programs.fake_nvml import FakeNvml, uuid_of

TRIES = int(os.environ.get("HOSTLER_TEST_CLAIM_TRIES", "200"))


@pytest.fixture
def stranger() -> Iterator[int]:
    """The PID of a program that has nothing to do with Hostler."""
    process = subprocess.Popen(["sleep", "600"])
    yield process.pid
    process.kill()
    process.wait()


def wanted(attempt: str, *gpus: str) -> dict[str, object]:
    return {
        "gpus": list(gpus), "attempt_id": attempt, "daemon_id": "d1", "owner": "ana",
        "memory_floor": 1 << 30, "ignore": [], "until": None,
    }  # fmt: skip


def claim(agent: Agent, attempt: str, *gpus: str) -> dict[str, object]:
    answer: dict[str, object] = agent.ask("claim", wanted(attempt, *gpus))
    return answer


def bind(agent: Agent, ids: object, attempt: str, *gpus: str) -> dict[str, object]:
    """As right before the start of a process."""
    answer: dict[str, object] = agent.ask(
        "bind", lease_ids=ids, workload=attempt, claim=wanted(attempt, *gpus)
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


def test_no_start_follows_where_somebody_took_the_gpu_after_the_claim(
    agent: Agent, gpus: FakeNvml, stranger: int
) -> None:
    taken, other = uuid_of(0), uuid_of(1)
    ids = claim(agent, "r-a-1", taken, other)["lease_ids"]
    gpus.set(1, used=600, processes=[f"{stranger}:500"])
    answer = bind(agent, ids, "r-a-1", taken, other)
    assert not answer.get("lease_ids"), "a GPU in use was given away"
    assert f"(PID {stranger}" in str(answer["refused"])
    assert {lease.get("workload") for lease in agent.look()["leases"]} == {None}
    gpus.set(1, used=0, processes=[])
    assert bind(agent, ids, "r-a-1", taken, other) == {"lease_ids": ids}


def test_a_job_that_runs_is_not_in_its_own_way(agent: Agent, gpus: FakeNvml, stranger: int) -> None:
    """A daemon that comes back goes through all steps of the start again."""
    gpu = uuid_of(0)
    ids = claim(agent, "r-a-1", gpu)["lease_ids"]
    bind(agent, ids, "r-a-1", gpu)
    job = agent.job("r-a-1", ["sleep", "600"], gpus=[gpu])
    (lease,) = agent.look()["leases"]
    pid = int(lease["workload"].partition(":")[0])
    gpus.set(0, used=5000, processes=[f"{pid}:4000", f"{stranger}:500"])
    assert bind(agent, ids, "r-a-1", gpu) == {"lease_ids": ids}
    (again,) = agent.look()["leases"]
    assert again["workload"] == lease["workload"]
    assert job["running"]
    agent.ask("job.stop", attempt_id="r-a-1", grace=0)


def test_a_gpu_passes_to_the_next_attempt_soon_after_the_job_before_it_has_ended(
    agent: Agent,
) -> None:
    """The lease is bound to the job's supervisor, which waits for no other job then."""
    gpu = uuid_of(0)
    for number in range(3):
        before = [f"r-a-{earlier}" for earlier in range(number)]
        asked = {**wanted(f"r-a-{number}", gpu), "instead_of": before}
        eventually(lambda asked=asked: agent.ask("claim", asked).get("lease_ids"), 8.0)  # type: ignore[misc]
        agent.job(f"r-a-{number}", ["true"], gpus=[gpu], gpu_indices=[0])
        assert agent.ended(f"r-a-{number}")["exit_code"] == 0
