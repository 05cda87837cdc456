"""What runtimes differ in: planner and daemon ask for traits, not for names."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.daemon.assemble import real_outside
from hostler.model.hosts import HostFacts, Look
from hostler.model.runtimes import RUNTIMES, traits_of


def test_every_runtime_that_a_daemon_has_is_described(tmp_path: Path) -> None:
    assert set(real_outside(tmp_path.joinpath).runtimes) == set(RUNTIMES)


def test_only_what_an_engine_lists_is_unseen_without_it() -> None:
    silent = Look(asked_at=1.0, boot_id="b", docker_problem="Docker does not answer")
    assert traits_of("docker").unseen(silent) == "Docker does not answer"
    assert traits_of("docker").unseen(Look(asked_at=1.0, boot_id="b")) is None
    assert traits_of("process").unseen(silent) is None


@pytest.mark.parametrize(
    ("runtime", "access", "gives"),
    [("docker", None, False), ("docker", "cdi", True), ("process", None, True)],
)
def test_containers_get_gpus_only_with_a_toolkit(
    runtime: str, access: str | None, gives: bool
) -> None:
    assert traits_of(runtime).gives_gpus(HostFacts(docker_gpu=access)) is gives


def test_an_unknown_name_in_a_hosts_notes_stops_no_planner() -> None:
    assert not traits_of("slurm").has_engine
