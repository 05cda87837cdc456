"""The table of kinds of stage, and what `task` and `gate` answer."""

from __future__ import annotations

import pytest

from hostler.decide.lifecycle import LIFECYCLES, lifecycle_of
from hostler.decide.lifecycle.gate import Gate
from hostler.decide.lifecycle.task import Task
from hostler.model.codec import from_json, to_json
from hostler.model.pipelines import KINDS, Cause, Stage, StageKind
from hostler.model.runs import Phase, StageStatus
from tests.support.values import planning as lab

WELL = (Phase.SUCCEEDED, None, "")


def test_every_kind_has_a_lifecycle() -> None:
    assert set(LIFECYCLES) == KINDS == set(StageKind)
    assert isinstance(lifecycle_of(lab.stage()), Task)
    assert isinstance(lifecycle_of(lab.stage(kind="gate")), Gate)


def test_a_stage_of_an_unknown_kind_cannot_be_read() -> None:
    written = {**to_json(lab.stage()), "kind": "oracle"}
    with pytest.raises(ValueError, match="'oracle' is not a kind of stage"):
        from_json(Stage, written)


def test_a_task_is_judged_by_its_end_alone() -> None:
    stage = lab.stage(conditions=("accuracy > 0.9",))
    assert Task().judge(stage, WELL, {"accuracy": 0.1}, {}) == WELL


def test_a_gate_is_judged_by_its_metrics_where_it_ended_well() -> None:
    stage = lab.stage(kind="gate", conditions=("accuracy > params.least",))
    failed = (Phase.FAILED, Cause.USER_ERROR, "exit code 3")
    assert Gate().judge(stage, WELL, {"accuracy": 0.95}, {"least": 0.9}) == WELL
    assert Gate().judge(stage, failed, {"accuracy": 0.95}, {"least": 0.9}) == failed
    phase, cause, detail = Gate().judge(stage, WELL, {"accuracy": 0.85}, {"least": 0.9})
    assert (phase, cause) == (Phase.FAILED, Cause.GATE)
    assert "accuracy is 0.85" in detail


def test_only_success_lets_others_go_and_only_an_end_closes_the_run() -> None:
    for status in StageStatus:
        assert Task().lets_go(status, ()) == (status is StageStatus.SUCCEEDED)
        assert Task().keeps_run_open(status) == (not status.is_final)


def test_a_success_is_not_taken_back_by_a_later_attempt_that_failed() -> None:
    tries = [
        lab.attempt(number=1, phase=Phase.SUCCEEDED),
        lab.attempt(number=2, phase=Phase.FAILED, cause=Cause.VANISHED),
    ]
    assert Task().status(tries) is StageStatus.SUCCEEDED


def test_fail_fast_decides_whether_siblings_are_stopped() -> None:
    assert Task().stops_siblings(lab.stage())
    assert not Task().stops_siblings(lab.stage(fail_fast=False))


def test_a_stage_is_being_collected_while_its_last_attempt_is() -> None:
    tries = [lab.attempt(phase=Phase.COLLECTING, verdict=Phase.SUCCEEDED)]
    assert Task().status(tries) is StageStatus.COLLECTING
    assert not Task().lets_go(Task().status(tries), tries)
