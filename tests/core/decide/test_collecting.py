"""What has ended and is being copied: it holds no GPUs, and nothing goes on before it is over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.decide.causes import conclude_uncollected
from hostler.decide.index import Index
from hostler.decide.plan import plan
from hostler.decide.progress import progress_of
from hostler.decide.queue import queue_order
from hostler.model.hosts import Host, HostCondition
from hostler.model.pipelines import Cause, OnLost, Stage
from hostler.model.plans import Action, Conclude, Finish, Release, Start, Stop
from hostler.model.runs import Phase, StageStatus
from tests.support.values import planning as lab
from tests.support.worlds.advance import advance, end_workload

STAGE = lab.stage(gpus=1, outputs={"model": "out"})
COLLECTED = lab.attempt(
    phase=Phase.COLLECTING, verdict=Phase.SUCCEEDED, finished_at=lab.NOW - 30, exit_code=0
)
ENDED = lab.workload(COLLECTED, running=False, exit_code=0)
LEASE = lab.lease(COLLECTED, "GPU-gpu1-0")


def decided(host: Host, *more: Stage, stage: Stage = STAGE, **fields: Any) -> list[Action]:
    """What the plan does about the attempt that is collected."""
    run = lab.run("r-1", stage, *more, attempts=[COLLECTED], **fields.pop("run", {}))
    return list(plan(lab.snapshot(host, run, **fields)).actions)


def host(*workloads: Any, **fields: Any) -> Host:
    return lab.host(cards=1, look={"workloads": workloads, **fields})


SILENT = replace(host(ENDED), condition=HostCondition.UNREACHABLE, since=lab.NOW - 5)


def test_its_gpu_is_released_while_it_is_collected() -> None:
    found = decided(host(ENDED, leases=(LEASE,)))
    assert found == [
        Finish(COLLECTED, STAGE, ENDED, lab.BOOT),
        Release("gpu1", (LEASE.lease_id,), COLLECTED.attempt_id),
    ]


def test_its_gpu_is_not_released_before_its_memory_is_back() -> None:
    busy = lab.host(
        cards=[lab.gpu("gpu1", 0, memory_used=9 * 1024**3)],
        look={"workloads": (ENDED,), "leases": (LEASE,)},
    )
    assert lab.of_kind(decided(busy), Release) == []


def test_another_stage_is_given_its_gpu() -> None:
    (start,) = lab.of_kind(decided(host(ENDED), lab.stage("other", gpus=1)), Start)
    assert start.attempt.gpus == COLLECTED.gpus


def test_it_takes_no_cpus_or_ram() -> None:
    big = replace(STAGE, resources=replace(STAGE.resources, cpus=32.0))
    found = decided(host(ENDED), lab.stage("other", cpus=32), stage=big)
    assert [start.stage.name for start in lab.of_kind(found, Start)] == ["other"]


def test_what_needs_it_waits_and_says_for_what() -> None:
    after = lab.stage("after", needs=("train",))
    run = lab.run("r-1", STAGE, after, attempts=[COLLECTED])
    found = plan(lab.snapshot(host(ENDED), run))
    assert lab.of_kind(found.actions, Start) == []
    assert found.reasons["r-1", "after"].sentence == "waits for train (collecting)"
    progress = progress_of(run)
    assert progress.status["train"] is StageStatus.COLLECTING
    assert progress.outcome() is None


def test_it_does_not_count_for_max_parallel() -> None:
    cells = [replace(STAGE, name=f"train.{i}", base="train", max_parallel=1) for i in range(2)]
    collected = replace(COLLECTED, attempt_id="r-1-train.0-1", stage="train.0")
    run = lab.run("r-1", *cells, attempts=[collected])
    found = plan(lab.snapshot(lab.host(), run)).actions
    assert [start.stage.name for start in lab.of_kind(found, Start)] == ["train.1"]


def test_its_gpus_do_not_count_against_its_owner() -> None:
    mine, other = lab.stage("mine"), lab.stage("other")
    first = lab.run("r-1", STAGE, mine, attempts=[COLLECTED])
    second = lab.run("r-2", other, owner="bo")
    index = Index(lab.snapshot(host(ENDED), first, second))
    assert [entry.stage.name for entry in queue_order(index)] == ["mine", "other"]


def test_it_goes_on_where_its_run_is_cancelled_or_its_time_is_up() -> None:
    short = replace(STAGE, timeout=1.0)
    found = decided(host(ENDED), stage=short, run={"cancelled_by": "eve"})
    assert found == [Finish(COLLECTED, short, ENDED, lab.BOOT)]


def test_it_waits_for_a_silent_host() -> None:
    assert decided(SILENT) == []
    assert decided(SILENT, run={"cancelled_by": "eve"}) == []


def test_it_is_given_up_where_its_stage_says_so() -> None:
    restart = replace(STAGE, on_lost=OnLost.RESTART, lost_after=20.0)
    late = replace(SILENT, look=replace(SILENT.look, asked_at=lab.NOW - 25))  # type: ignore[type-var]
    (given_up,) = decided(late, stage=restart)
    assert isinstance(given_up, Conclude)
    assert given_up.is_lost
    assert given_up.key == Finish(COLLECTED, restart, ENDED).key
    assert "on_lost = restart" in given_up.why
    assert decided(SILENT, stage=restart) == []


@pytest.mark.parametrize("boot_id", [lab.BOOT, "boot-2"])
def test_its_files_are_told_as_gone_where_its_workload_is(boot_id: str) -> None:
    (gone,) = decided(host(boot_id=boot_id))
    assert gone == Conclude(COLLECTED, STAGE, gone.why)  # type: ignore[union-attr]
    assert decided(host(docker_problem="no answer"), stage=STAGE) == [gone]
    unproven = replace(COLLECTED, finished_at=lab.NOW)
    run = lab.run("r-1", STAGE, attempts=[unproven])
    assert list(plan(lab.snapshot(host(), run)).actions) == []


def test_a_container_is_not_gone_because_docker_is_silent() -> None:
    boxed = replace(COLLECTED, runtime="docker")
    run = lab.run("r-1", STAGE, attempts=[boxed])
    assert list(plan(lab.snapshot(host(docker_problem="no answer"), run)).actions) == []


def test_it_ends_where_its_run_is_cancelled_and_its_host_has_left_the_config() -> None:
    elsewhere = lab.host("gpu2")
    assert decided(elsewhere) == []
    (gone,) = decided(elsewhere, run={"cancelled_by": "eve"})
    assert isinstance(gone, Conclude)


def test_what_runs_again_after_its_end_is_stopped() -> None:
    again = replace(ENDED, running=True, exit_code=None)
    (stop,) = decided(host(again))
    assert isinstance(stop, Stop)
    before = lab.host(cards=1, asked_at=lab.NOW - 31, look={"workloads": (again,)})
    assert decided(replace(before, since=lab.NOW - 3600), policy=replace(
        lab.snapshot().policy, fresh_for=60.0
    )) == []  # fmt: skip


def test_a_verdict_stands_but_for_a_success_without_its_outputs() -> None:
    assert conclude_uncollected(COLLECTED, [], "gone")[0] is Phase.SUCCEEDED
    phase, cause, detail = conclude_uncollected(COLLECTED, ["model"], "gone by hand")
    assert (phase, cause) == (Phase.FAILED, Cause.OUTPUT)
    assert detail == "output model: gone by hand"
    assert conclude_uncollected(COLLECTED, ["model"], "silent", is_lost=True)[0] is Phase.LOST
    failed = replace(COLLECTED, verdict=Phase.FAILED, cause=Cause.OOM_GPU, detail="exit code 1")
    for is_lost in (False, True):
        ended = conclude_uncollected(failed, ["model"], "gone", is_lost=is_lost)
        assert ended == (Phase.FAILED, Cause.OOM_GPU, "exit code 1")


def test_a_simulated_lab_collects_in_two_steps() -> None:
    snapshot = lab.snapshot(lab.host(cards=1), lab.run("r-1", STAGE))
    snapshot = advance(snapshot, plan(snapshot))
    (attempt,) = snapshot.runs[0].attempts
    snapshot = replace(end_workload(snapshot, attempt.attempt_id), now=lab.NOW + 1)
    phases = []
    for _ in range(2):
        snapshot = advance(snapshot, plan(snapshot))
        phases.append(snapshot.runs[0].attempts[0].phase)
    assert phases == [Phase.COLLECTING, Phase.SUCCEEDED]
