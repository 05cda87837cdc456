"""Each rule about open attempts, alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.decide.plan import plan
from hostler.model.hosts import Host, HostCondition
from hostler.model.pipelines import Cause, OnLost, Stage
from hostler.model.plans import Action, Finish, Record, Resume, Start, Stop
from hostler.model.runs import Attempt, Phase
from tests.support.values import planning as lab

GPU0 = "GPU-gpu1-0"


def settled(
    attempt: Attempt,
    host: Host,
    *,
    stage: Stage | None = None,
    run: dict[str, Any] | None = None,
    **snapshot: Any,
) -> list[Action]:
    """What the plan does about one attempt of the only stage."""
    only = stage if stage is not None else lab.stage(gpus=1)
    made = lab.run("r-1", only, attempts=[attempt], **(run or {}))
    return list(plan(lab.snapshot(host, made, **snapshot)).actions)


STARTING = lab.attempt(phase=Phase.STARTING)
RUNNING = lab.attempt()


def host_with(*workloads: Any, **fields: Any) -> Host:
    """A host whose fresh look shows these workloads."""
    return lab.host(look={"workloads": workloads}, **fields)


def test_an_attempt_whose_start_is_in_flight_is_left_alone() -> None:
    assert settled(STARTING, lab.host(), in_flight=frozenset({"start:r-1-train-1"})) == []


def test_an_end_that_is_being_written_down_is_not_written_again() -> None:
    ended = host_with(lab.workload(RUNNING, running=False, exit_code=0))
    assert settled(RUNNING, ended, in_flight=frozenset({"finish:r-1-train-1"})) == []


def test_a_start_cut_short_is_resumed_once_a_newer_look_shows_nothing() -> None:
    assert settled(STARTING, lab.host()) == [Resume(STARTING, lab.stage(gpus=1))]


def test_a_start_cut_short_is_not_resumed_on_an_older_look() -> None:
    just_placed = replace(STARTING, placed_at=lab.NOW - 0.2)
    assert settled(just_placed, lab.host(asked_at=lab.NOW - 0.5)) == []


def test_a_container_created_and_not_started_is_resumed() -> None:
    created = lab.workload(STARTING, running=False, created_only=True)
    assert settled(STARTING, host_with(created)) == [Resume(STARTING, lab.stage(gpus=1))]


def test_a_start_cut_short_that_happened_is_recorded_as_running() -> None:
    workload = lab.workload(STARTING)
    assert settled(STARTING, host_with(workload)) == [
        Record("r-1-train-1", Phase.RUNNING, workload=workload)
    ]


def test_a_workload_that_ended_is_finished_with_the_boot_id_of_the_look() -> None:
    workload = lab.workload(RUNNING, running=False, exit_code=0)
    assert settled(RUNNING, host_with(workload)) == [
        Finish(RUNNING, lab.stage(gpus=1), workload, lab.BOOT)
    ]


def test_an_end_seen_is_proof_even_in_a_look_older_than_the_launch() -> None:
    attempt = replace(RUNNING, launched_at=lab.NOW - 0.1)
    (action,) = settled(attempt, host_with(lab.workload(attempt, running=False, exit_code=3)))
    assert isinstance(action, Finish)


def test_a_look_not_newer_than_the_launch_proves_nothing() -> None:
    attempt = replace(RUNNING, launched_at=lab.NOW - 0.5)
    assert settled(attempt, lab.host(asked_at=lab.NOW - 0.5)) == []


def test_a_look_taken_during_the_pull_proves_nothing() -> None:
    attempt = replace(RUNNING, placed_at=lab.NOW - 60, launched_at=lab.NOW - 1)
    assert settled(attempt, lab.host(asked_at=lab.NOW - 5)) == []


def test_a_workload_that_is_gone_has_vanished() -> None:
    (action,) = settled(RUNNING, lab.host())
    assert isinstance(action, Record)
    assert (action.phase, action.cause) == (Phase.FAILED, Cause.VANISHED)


def test_where_docker_cannot_be_seen_absence_proves_nothing() -> None:
    attempt = replace(RUNNING, runtime="docker")
    host = lab.host(look={"docker_problem": "dockerd is away"})
    stage = lab.stage(gpus=1, runtime="docker")
    assert settled(attempt, host, stage=stage) == []


def test_where_docker_cannot_be_seen_a_process_can() -> None:
    (action,) = settled(RUNNING, lab.host(look={"docker_problem": "dockerd is away"}))
    assert isinstance(action, Record)


def test_a_reboot_that_left_nothing_is_the_cause() -> None:
    (action,) = settled(RUNNING, lab.host(look={"boot_id": "boot-2"}))
    assert isinstance(action, Record)
    assert (action.phase, action.cause) == (Phase.FAILED, Cause.HOST_REBOOTED)


def test_a_reboot_before_the_start_does_not_count_as_a_try() -> None:
    (action,) = settled(STARTING, lab.host(look={"boot_id": "boot-2"}))
    assert isinstance(action, Record)
    assert action.cause is Cause.NOT_STARTED


def test_a_workload_that_survived_a_reboot_goes_on() -> None:
    workload = lab.workload(RUNNING)
    host = lab.host(look={"boot_id": "boot-2", "workloads": (workload,)})
    assert settled(RUNNING, host) == []


@pytest.mark.parametrize(
    "silent",
    [
        lab.host(condition=HostCondition.UNREACHABLE),
        lab.host(condition=HostCondition.REFUSED),
        lab.host(asked_at=lab.NOW - 60),
        lab.host(since=lab.NOW - 0.2),
    ],
    ids=["unreachable", "refused", "stale", "back, and not looked at since"],
)
def test_silence_is_not_death(silent: Host) -> None:
    assert settled(RUNNING, silent) == []


def test_a_host_the_config_no_longer_names_is_silent() -> None:
    assert settled(RUNNING, lab.host("gpu9")) == []


def lost_stage(after: float = 600.0) -> Stage:
    return lab.stage(gpus=1, on_lost=OnLost.RESTART, lost_after=after)


def test_a_stage_that_says_so_is_given_up_after_long_silence() -> None:
    silent = lab.host(condition=HostCondition.UNREACHABLE, asked_at=lab.NOW - 600)
    attempt = replace(RUNNING, placed_at=0, launched_at=1)
    (action,) = settled(attempt, silent, stage=lost_stage())
    assert isinstance(action, Record)
    assert (action.phase, action.cause) == (Phase.LOST, Cause.HOST_LOST)


def test_it_is_not_given_up_a_moment_earlier_and_the_plan_wakes_then() -> None:
    silent = lab.host(condition=HostCondition.UNREACHABLE, asked_at=lab.NOW - 599)
    attempt = replace(RUNNING, placed_at=0, launched_at=1)
    made = lab.run("r-1", lost_stage(), attempts=[attempt])
    decided = plan(lab.snapshot(silent, made))
    assert decided.actions == ()
    assert decided.wake_at == lab.NOW + 1


def test_it_is_never_given_up_before_a_look_under_way_would_be_too_old() -> None:
    silent = lab.host(condition=HostCondition.UNREACHABLE, asked_at=lab.NOW - 5)
    attempt = replace(RUNNING, placed_at=0, launched_at=1)
    assert settled(attempt, silent, stage=lost_stage(after=1.0)) == []


def test_silence_counts_from_the_launch_not_from_the_placing() -> None:
    silent = lab.host(condition=HostCondition.UNREACHABLE, asked_at=lab.NOW - 900)
    attempt = replace(RUNNING, placed_at=lab.NOW - 800, launched_at=lab.NOW - 30)
    assert settled(attempt, silent, stage=lost_stage()) == []


def test_a_cancelled_run_stops_what_runs_by_name() -> None:
    workload = lab.workload(RUNNING)
    stage = lab.stage(gpus=1, grace=7.0)
    assert settled(RUNNING, host_with(workload), stage=stage, run={"cancelled_by": "eve"}) == [
        Stop("gpu1", workload, Cause.STOPPED, "by eve", 7.0)
    ]


def test_a_cancelled_attempt_that_runs_after_all_is_recorded_and_stopped() -> None:
    workload = lab.workload(STARTING)
    actions = settled(STARTING, host_with(workload), run={"cancelled_by": "eve"})
    assert [type(action) for action in actions] == [Record, Stop]
    assert isinstance(actions[0], Record)
    assert actions[0].phase is Phase.RUNNING


def test_a_stop_in_flight_is_not_repeated() -> None:
    workload = lab.workload(RUNNING)
    busy = frozenset({"stop:gpu1:r-1-train-1"})
    assert settled(
        RUNNING, host_with(workload), run={"cancelled_by": "eve"}, in_flight=busy
    ) == []  # fmt: skip


@pytest.mark.parametrize(
    "host",
    [lab.host(), lab.host(condition=HostCondition.UNREACHABLE)],
    ids=["not there", "host silent"],
)
def test_a_cancelled_attempt_that_never_launched_is_over(host: Host) -> None:
    (action,) = settled(STARTING, host, run={"cancelled_by": "eve"})
    assert isinstance(action, Record)
    assert (action.phase, action.cause) == (Phase.CANCELLED, Cause.STOPPED)
    assert "eve" in action.detail


def test_a_cancelled_attempt_waits_for_proof_while_its_host_is_only_slow() -> None:
    slow = lab.host(asked_at=lab.NOW - 60)
    assert settled(STARTING, slow, run={"cancelled_by": "eve"}) == []


def test_the_time_limit_stops_it_and_the_plan_wakes_for_it() -> None:
    stage, workload = lab.stage(gpus=1, timeout=60.0), lab.workload(RUNNING)
    (action,) = settled(RUNNING, host_with(workload), stage=stage)
    assert isinstance(action, Stop)
    assert action.cause is Cause.TIME_LIMIT
    later = lab.run("r-1", lab.stage(gpus=1, timeout=100.0), attempts=[RUNNING])
    decided = plan(lab.snapshot(host_with(workload), later))
    assert decided.actions == ()
    assert decided.wake_at == lab.NOW + 40


def test_the_first_reason_to_stop_stays() -> None:
    attempt = replace(RUNNING, stop_reason=Cause.TIME_LIMIT, stop_detail="ran longer than 1m")
    workload = lab.workload(attempt)
    (action,) = settled(attempt, host_with(workload), run={"cancelled_by": "eve"})
    assert isinstance(action, Stop)
    assert (action.cause, action.detail) == (Cause.TIME_LIMIT, "ran longer than 1m")


def test_a_stop_that_was_asked_for_explains_an_absence() -> None:
    attempt = replace(RUNNING, stop_reason=Cause.STOPPED, stop_detail="by eve")
    (action,) = settled(attempt, lab.host())
    assert isinstance(action, Record)
    assert (action.phase, action.cause) == (Phase.CANCELLED, Cause.STOPPED)


def test_a_failed_cell_stops_the_others() -> None:
    cells = [lab.stage(f"t.{i}", gpus=1, base="t") for i in range(3)]
    failed = lab.attempt(stage="t.0", phase=Phase.FAILED, gpus=(0,), cause=Cause.USER_ERROR)
    other = lab.attempt(stage="t.1", gpus=(1,))
    workload = lab.workload(other)
    made = lab.run("r-1", *cells, attempts=[failed, other])
    actions = plan(lab.snapshot(host_with(workload), made)).actions
    (stop,) = actions
    assert isinstance(stop, Stop)
    assert (stop.workload, stop.cause) == (workload, Cause.DEPENDENCY)
    assert not lab.of_kind(actions, Start)


def test_a_stop_noted_before_the_start_keeps_its_words() -> None:
    noted = replace(STARTING, stop_reason=Cause.TIME_LIMIT, stop_detail="ran longer than 1m")
    (action,) = settled(noted, lab.host(), run={"cancelled_by": "eve"})
    assert isinstance(action, Record)
    assert (action.phase, action.cause) == (Phase.FAILED, Cause.TIME_LIMIT)
    assert action.detail == "ran longer than 1m"


def test_a_cancel_before_the_start_says_so() -> None:
    (action,) = settled(STARTING, lab.host(), run={"cancelled_by": "eve"})
    assert isinstance(action, Record)
    assert action.detail == "by eve, before it started"


@pytest.mark.parametrize(
    ("work", "kinds"),
    [
        ({"running": True}, [Record, Stop]),
        ({"running": False, "exit_code": 0}, [Finish]),
        ({"running": False, "created_only": True}, [Record]),
    ],
)
def test_a_cancelled_start_that_happened_after_all(work: dict[str, Any], kinds: list[type]) -> None:
    found = settled(STARTING, host_with(lab.workload(STARTING, **work)), run={"cancelled_by": "e"})
    assert [type(action) for action in found] == kinds


def test_what_was_launched_and_cancelled_waits_for_its_silent_host() -> None:
    silent = lab.host(condition=HostCondition.UNREACHABLE)
    assert settled(RUNNING, silent, run={"cancelled_by": "eve"}) == []


def test_what_a_person_stopped_on_a_host_that_left_the_config_is_let_go() -> None:
    elsewhere = lab.host("gpu9")
    (action,) = settled(RUNNING, elsewhere, run={"cancelled_by": "eve"})
    assert isinstance(action, Record)
    assert (action.phase, action.cause) == (Phase.CANCELLED, Cause.STOPPED)
    assert action.detail == (
        "by eve; gpu1 is no longer in the config: whether it still runs there is not known"
    )
    limited = replace(RUNNING, stop_reason=Cause.TIME_LIMIT, stop_detail="ran longer than 1m")
    assert settled(limited, elsewhere) == []


def test_silence_of_a_host_that_left_the_config_counts_from_the_launch() -> None:
    elsewhere = lab.host("gpu9")
    assert settled(RUNNING, elsewhere, stage=lost_stage(61.0)) == []
    (action,) = settled(RUNNING, elsewhere, stage=lost_stage(60.0))
    assert isinstance(action, Record)
    assert action.detail == "gpu1 has not answered for 1m (on_lost = restart)"


def test_silence_of_a_host_never_heard_counts_from_when_it_is_known() -> None:
    new = replace(lab.host(condition=HostCondition.CONNECTING, since=lab.NOW - 20), look=None)
    assert settled(RUNNING, new, stage=lost_stage(21.0)) == []
    (action,) = settled(RUNNING, new, stage=lost_stage(20.0))
    assert isinstance(action, Record)
    assert "has not answered for 20s" in action.detail


@pytest.mark.parametrize(("ago", "given_up"), [(10.0, True), (9.5, False)])
def test_a_look_under_way_may_take_as_long_as_one_is_fresh(ago: float, given_up: bool) -> None:
    silent = lab.host(condition=HostCondition.UNREACHABLE, asked_at=lab.NOW - ago)
    assert bool(settled(RUNNING, silent, stage=lost_stage(1.0))) is given_up


def test_a_reboot_before_the_start_says_so() -> None:
    (action,) = settled(STARTING, lab.host(look={"boot_id": "boot-2"}))
    assert isinstance(action, Record)
    assert action.detail == "gpu1 rebooted before it was started"
    unknown = replace(STARTING, boot_id=None)
    assert settled(unknown, lab.host(look={"boot_id": "boot-2"})) == [
        Resume(unknown, lab.stage(gpus=1))
    ]


def test_a_launched_attempt_whose_container_never_ran_is_started_again() -> None:
    created = lab.workload(RUNNING, running=False, created_only=True)
    assert settled(RUNNING, host_with(created)) == [Resume(RUNNING, lab.stage(gpus=1))]


@pytest.mark.parametrize("key", ["finish:r-1-train-1", "record:r-1-train-1"])
def test_while_an_end_is_written_nothing_else_is_done(key: str) -> None:
    assert settled(RUNNING, lab.host(), in_flight=frozenset({key})) == []


def test_a_time_limit_counts_the_time_that_the_daemon_slept() -> None:
    stage = lab.stage(gpus=1, timeout=500.0)
    work = lab.workload(RUNNING, started_up=300.0)
    (action,) = settled(RUNNING, lab.host(look={"workloads": (work,), "up": 900.0}), stage=stage)
    assert isinstance(action, Stop)
    assert action.detail == "ran longer than 8m20s"
    assert settled(RUNNING, lab.host("gpu9"), stage=stage) == []


@pytest.mark.parametrize(("timeout", "stopped"), [(60.0, True), (60.5, False), (None, False)])
def test_a_time_limit_is_up_to_the_second(timeout: float | None, stopped: bool) -> None:
    host = host_with(lab.workload(RUNNING))
    assert bool(settled(RUNNING, host, stage=lab.stage(gpus=1, timeout=timeout))) is stopped


def test_the_plan_wakes_for_nothing_that_is_decided_already() -> None:
    stage = lab.stage(gpus=1, timeout=100.0)
    asked = replace(RUNNING, stop_reason=Cause.STOPPED, stop_detail="by eve")
    over = replace(RUNNING, phase=Phase.COLLECTING, finished_at=lab.NOW - 5)
    for attempt in (asked, over):
        made = lab.run("r-1", stage, attempts=[attempt])
        assert plan(lab.snapshot(host_with(lab.workload(attempt)), made)).wake_at is None


@pytest.mark.parametrize(
    "attempt",
    [replace(RUNNING, launched_at=None), replace(STARTING, launched_at=lab.NOW - 50)],
    ids=["runs, launch not noted", "launched, not seen to run"],
)
def test_what_was_launched_or_ran_and_is_gone_is_not_started_again(attempt: Attempt) -> None:
    (action,) = settled(attempt, lab.host())
    assert isinstance(action, Record)
    assert action.cause is Cause.VANISHED
