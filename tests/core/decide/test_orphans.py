"""What happens to workloads and leases that nobody needs any more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.base.units import GIB
from hostler.decide.plan import plan
from hostler.model.hosts import Host, HostCondition, Workload
from hostler.model.pipelines import Cause
from hostler.model.plans import Action, Release, Remove, Stop
from hostler.model.runs import Phase
from tests.support.values import planning as lab

FINAL = lab.attempt(phase=Phase.LOST, cause=Cause.HOST_LOST)
UUID = "GPU-gpu1-0"


def actions(host: Host, *attempts: Any, **snapshot: Any) -> list[Action]:
    """The plan's actions on a lab of one host and one run with these attempts."""
    stages = [lab.stage(gpus=1), lab.stage("later", needs=("train",))]
    runs = [lab.run("r-1", *stages, attempts=attempts, cancelled_by="eve")] if attempts else []
    decided = plan(lab.snapshot(host, *runs, **snapshot))
    return [a for a in decided.actions if isinstance(a, (Stop, Remove, Release))]


def look(*workloads: Workload, **fields: Any) -> Host:
    return lab.host(look={"workloads": workloads, **fields})


def test_a_running_workload_of_a_final_attempt_is_stopped() -> None:
    found = actions(look(lab.workload(FINAL)), FINAL)
    (stop,) = found
    assert isinstance(stop, Stop)
    assert stop.cause is Cause.HOST_LOST
    assert stop.grace == 30.0


def test_a_running_workload_of_a_run_that_is_over_is_stopped() -> None:
    (stop,) = actions(look(lab.workload("r-0-old-1")))
    assert isinstance(stop, Stop)


@pytest.mark.parametrize("created_only", [True, False])
def test_an_ended_workload_of_a_final_attempt_is_removed(created_only: bool) -> None:
    workload = lab.workload(FINAL, running=False, created_only=created_only)
    assert actions(look(workload), FINAL) == [Remove("gpu1", workload)]


def test_an_ended_workload_is_kept_until_its_end_is_written_down() -> None:
    attempt = lab.attempt()
    workload = lab.workload(attempt, running=False, exit_code=0)
    assert actions(look(workload), attempt) == []


def test_a_host_under_another_name_keeps_the_work_of_its_first_name() -> None:
    attempt = lab.attempt(host="gpu1-by-its-old-name")
    lease = lab.lease(attempt, UUID)
    assert actions(look(lab.workload(attempt.attempt_id), leases=(lease,)), attempt) == []


@pytest.mark.parametrize("running", [True, False])
def test_what_belongs_to_another_daemon_is_never_touched(running: bool) -> None:
    theirs = lab.workload("r-9-x-1", running=running, daemon_id=lab.OTHER)
    lease = lab.lease("r-9-x-1", UUID, daemon_id=lab.OTHER)
    assert actions(look(theirs, leases=(lease,))) == []


def test_nothing_is_done_on_a_silent_host() -> None:
    silent = replace(look(lab.workload(FINAL)), condition=HostCondition.UNREACHABLE)
    assert actions(silent, FINAL) == []


def test_nothing_is_done_while_a_start_of_it_is_in_flight() -> None:
    busy = frozenset({"start:r-1-train-1"})
    lease = lab.lease(FINAL, UUID)
    assert actions(look(lab.workload(FINAL), leases=(lease,)), FINAL, in_flight=busy) == []


def test_leases_of_a_final_attempt_are_released_together() -> None:
    leases = (lab.lease(FINAL, UUID), lab.lease(FINAL, "GPU-gpu1-1"))
    assert actions(look(leases=leases), FINAL) == [
        Release("gpu1", ("L-GPU-gpu1-0", "L-GPU-gpu1-1"), "r-1-train-1")
    ]


def test_a_lease_of_a_run_that_is_over_is_released() -> None:
    found = actions(look(leases=(lab.lease("r-0-old-1", UUID),)))
    assert found == [Release("gpu1", ("L-GPU-gpu1-0",), "r-0-old-1")]


def test_a_lease_is_kept_while_its_attempt_is_open() -> None:
    attempt = lab.attempt()
    assert actions(look(lab.workload(attempt), leases=(lab.lease(attempt, UUID),)), attempt) == [
        Stop("gpu1", lab.workload(attempt), Cause.STOPPED, "by eve", 30.0)
    ]


def test_a_reservation_by_hand_is_not_released() -> None:
    lease = replace(lab.lease("x", UUID), attempt_id=None)
    assert actions(look(leases=(lease,))) == []


def with_gpu(host: Host, **fields: Any) -> Host:
    assert host.look is not None
    first, *rest = host.look.gpus
    return lab.with_look(host, gpus=(replace(first, **fields), *rest))


LEASED = look(leases=(lab.lease(FINAL, UUID),))


def test_a_lease_is_kept_until_the_memory_is_back() -> None:
    assert actions(with_gpu(LEASED, memory_used=4 * GIB), FINAL) == []


def test_a_lease_is_kept_while_a_container_of_it_might_still_start() -> None:
    made = lab.workload(FINAL, running=False, created_only=True)
    found = actions(look(made, leases=(lab.lease(FINAL, UUID),)), FINAL)
    assert found == [Remove("gpu1", made)]


def test_a_lease_is_kept_while_a_process_of_it_is_left() -> None:
    left = lab.process(attempt_id=FINAL.attempt_id)
    assert actions(with_gpu(LEASED, processes=(left,)), FINAL) == []


def test_a_dead_process_that_holds_memory_keeps_the_lease() -> None:
    dead = lab.process(exists=False)
    assert actions(with_gpu(LEASED, processes=(dead,), memory_used=4 * GIB), FINAL) == []


def test_memory_of_a_living_stranger_does_not_keep_our_lease() -> None:
    host = with_gpu(LEASED, processes=(lab.process(),), memory_used=4 * GIB)
    assert len(actions(host, FINAL)) == 1


def test_a_card_that_does_not_tell_its_memory_counts_as_empty() -> None:
    assert len(actions(with_gpu(LEASED, memory_used=None), FINAL)) == 1


def test_where_docker_cannot_be_seen_a_container_may_still_run() -> None:
    final = replace(FINAL, runtime="docker")
    host = lab.with_look(LEASED, docker_problem="away")
    assert actions(host, final) == []
    assert len(actions(host, FINAL)) == 1


@pytest.mark.parametrize(("workload", "released"), [("12000:4926534", 1), ("5b1f", 0), (None, 0)])
def test_where_docker_is_not_seen_a_process_of_an_ended_run_gives_its_gpu_back(
    workload: str | None, released: int
) -> None:
    lease = replace(lab.lease(FINAL, UUID), workload=workload)
    host = lab.with_look(LEASED, leases=(lease,), docker_problem="Docker is not running")
    assert len(actions(host)) == released


def test_a_lease_on_a_gpu_that_is_gone_is_kept() -> None:
    assert actions(lab.with_look(LEASED, gpus=()), FINAL) == []


def test_a_stale_lease_of_ours_is_cleared_away() -> None:
    stale = lab.lease(FINAL, UUID, stale=True)
    assert len(actions(lab.with_look(LEASED, leases=(stale,)), FINAL)) == 1


def test_the_plan_wakes_when_a_gpu_would_be_called_quarantined() -> None:
    final = replace(FINAL, finished_at=lab.NOW - 20)
    stages = [lab.stage(gpus=1), lab.stage("other", gpus=9)]
    made = lab.run("r-1", *stages, attempts=[final])
    decided = plan(lab.snapshot(with_gpu(LEASED, memory_used=4 * GIB), made))
    assert decided.wake_at == lab.NOW + 100


def test_a_gpu_is_not_given_back_on_a_look_of_before_the_end_of_its_work() -> None:
    """Its workload may not have used the GPU yet then, and its memory may not be back now."""
    ended = lab.attempt(phase=Phase.SUCCEEDED, finished_at=lab.NOW - 0.2)
    lease = lab.lease(ended, UUID)
    before = lab.host(asked_at=lab.NOW - 0.3, look={"leases": (lease,)})
    assert lab.of_kind(actions(before, ended), Release) == []
    assert lab.of_kind(actions(before, lately={ended.attempt_id: lab.NOW - 0.2}), Release) == []
    after = lab.host(asked_at=lab.NOW - 0.1, look={"leases": (lease,)})
    assert len(lab.of_kind(actions(after, ended), Release)) == 1
    assert len(lab.of_kind(actions(after, lately={ended.attempt_id: 0.0}), Release)) == 1


def test_a_silent_host_keeps_no_other_from_being_cleared() -> None:
    lost = lab.attempt("r-9", phase=Phase.LOST, host="gpu2")
    looked = {
        "workloads": (lab.workload("r-8-x-1", running=False),),
        "leases": (lab.lease(lost, "GPU-gpu2-0"),),
    }
    first = lab.host("gpu1", condition=HostCondition.UNREACHABLE)
    empty, other = lab.host("gpu1"), lab.host("gpu2", look=looked)
    for before in (first, empty):
        found = plan(lab.snapshot(before, other)).actions
        assert [type(action) for action in found] == [Remove, Release]


def test_of_thousands_of_orphans_some_are_ended_at_once() -> None:
    works = tuple(lab.workload(f"r-{i}-x-1", running=False) for i in range(70))
    found = actions(look(*works))
    assert len(found) == 64
    busy = frozenset(action.key for action in found)
    assert len(actions(look(*works), in_flight=busy)) == 6


@pytest.mark.parametrize(("used", "back"), [(GIB, True), (GIB + 1, False)])
def test_memory_up_to_the_floor_counts_as_back(used: int, back: bool) -> None:
    card = replace(lab.gpu("gpu1", 0), memory_used=used)
    host = lab.host("gpu1", [card], look={"leases": (lab.lease(FINAL, UUID),)})
    assert bool(actions(host, FINAL)) is back


def test_a_process_of_its_container_keeps_the_lease() -> None:
    held = lab.lease(FINAL, UUID, workload="c1")

    def with_process(**fields: Any) -> Host:
        cards = (replace(lab.gpu("gpu1", 0), processes=(lab.process(**fields),)),)
        return lab.host("gpu1", cards, look={"leases": (held,)})

    assert actions(with_process(container_id="c1"), FINAL) == []
    assert len(actions(with_process(container_id="c2"), FINAL)) == 1
    assert len(actions(with_process(), FINAL)) == 1


def test_a_stop_says_what_its_attempt_came_to() -> None:
    (unknown,) = actions(look(lab.workload("r-9-x-1")))
    (known,) = actions(look(lab.workload(FINAL)), FINAL)
    plain = replace(FINAL, cause=None)
    (uncaused,) = actions(look(lab.workload(plain)), plain)
    told = [
        (stop.detail, stop.cause, stop.grace)
        for stop in (unknown, known, uncaused)
        if isinstance(stop, Stop)
    ]
    assert told == [
        ("its run is over", Cause.STOPPED, 30.0),
        ("its attempt is lost already", Cause.HOST_LOST, 30.0),
        ("its attempt is lost already", Cause.STOPPED, 30.0),
    ]


def test_a_stop_leaves_the_grace_of_its_stage() -> None:
    run = lab.run("r-1", lab.stage(gpus=1, grace=7.0), attempts=[FINAL])
    found = plan(lab.snapshot(look(lab.workload(FINAL)), run)).actions
    assert [action.grace for action in found if isinstance(action, Stop)] == [7.0]
    gone = replace(FINAL, stage="gone", attempt_id="r-1-gone-1")
    run = lab.run("r-1", lab.stage(gpus=1, grace=7.0), attempts=[gone])
    found = plan(lab.snapshot(look(lab.workload(gone)), run)).actions
    assert [action.grace for action in found if isinstance(action, Stop)] == [30.0]
