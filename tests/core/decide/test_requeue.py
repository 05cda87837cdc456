"""A stage at its time limit goes on only from a checkpoint that is newer, and uses up no retry."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import ConflictError
from hostler.decide.causes import Ending
from hostler.decide.lifecycle.task import Task, counted_failures
from hostler.decide.plan import plan
from hostler.decide.progress import progress_of
from hostler.decide.requeue import (
    check_requeues,
    requeueable,
    requeued,
    requeues,
    to_be_requeued,
    wants_requeue,
)
from hostler.model.hosts import HostCondition, Workload
from hostler.model.pipelines import Cause, Retries, Stage
from hostler.model.plans import Start
from hostler.model.runs import Attempt, Outcome, Phase, StageStatus
from hostler.model.time_limits import MOST_REQUEUES, CheckpointSeen, OnTimeout
from tests.support.values import planning as lab
from tests.support.worlds.hypothesis_profiles import examples

LIMIT: Ending = (Phase.FAILED, Cause.TIME_LIMIT, "ran longer than 1m")


def goes_on(**more: Any) -> Stage:
    keys = {"timeout": 60.0, "checkpoint": "ckpt", "on_timeout": OnTimeout.REQUEUE, **more}
    return lab.stage(gpus=1, **keys)


def ran(**times: Any) -> Workload:
    return lab.workload(lab.attempt(), running=False, **{"started_at": 100.0, **times})


def cut(number: int, cause: Cause = Cause.REQUEUED, **more: Any) -> Attempt:
    return lab.attempt(number=number, phase=Phase.FAILED, cause=cause, **more)


def test_it_goes_on_from_a_checkpoint_that_is_newer_than_its_start() -> None:
    ended = requeued(LIMIT, goes_on(), [], ran(), CheckpointSeen(101.0))
    assert ended == (
        Phase.FAILED, Cause.REQUEUED, "ran longer than 1m; resumes from its checkpoint"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "workload", "seen", "why"),
    [
        (goes_on(), ran(), CheckpointSeen(), "nothing was written to its checkpoint ckpt/"),
        (goes_on(), ran(), CheckpointSeen(99.9), "nothing was written to its checkpoint ckpt/"),
        (goes_on(), ran(started_at=None), CheckpointSeen(101.0), "nothing was written"),
        (goes_on(), ran(), CheckpointSeen(101.0, "it is\ntoo large"), "be checked: it is too"),
        (goes_on(checkpoint=None), ran(), CheckpointSeen(), "it has no checkpoint"),
    ],
)
def test_else_it_ends_by_its_limit_and_says_why(
    stage: Stage, workload: Workload, seen: CheckpointSeen, why: str
) -> None:
    phase, cause, detail = requeued(LIMIT, stage, [], workload, seen)
    assert (phase, cause) == (Phase.FAILED, Cause.TIME_LIMIT)
    assert detail.startswith("ran longer than 1m; not requeued: ")
    assert why in detail


def test_it_does_not_go_on_for_ever() -> None:
    tries = [cut(number) for number in range(1, MOST_REQUEUES + 1)]
    last = requeued(LIMIT, goes_on(), tries[:-1], ran(), CheckpointSeen(101.0))
    assert last[1] is Cause.REQUEUED
    _, cause, detail = requeued(LIMIT, goes_on(), tries, ran(), CheckpointSeen(101.0))
    assert cause is Cause.TIME_LIMIT
    assert detail.endswith(f"not requeued: it was requeued {MOST_REQUEUES} times")


@pytest.mark.parametrize("cause", [None, *(c for c in Cause if c is not Cause.TIME_LIMIT)])
def test_no_other_end_asks_for_the_checkpoint(cause: Cause | None) -> None:
    assert not wants_requeue(goes_on(), (Phase.FAILED, cause, ""))
    assert not wants_requeue(goes_on(on_timeout=OnTimeout.FAIL), LIMIT)
    assert wants_requeue(goes_on(), LIMIT)


times = st.one_of(st.none(), st.floats(0.0, 1e10), st.sampled_from([100.0, math.inf, -math.inf]))


@given(times, times, st.sampled_from(["", "too large"]), st.integers(0, MOST_REQUEUES + 2))
@examples(100)
def test_it_is_never_requeued_without_a_newer_checkpoint(
    began: float | None, newest: float | None, problem: str, before: int
) -> None:
    seen, tries = CheckpointSeen(newest, problem), [cut(number) for number in range(before)]
    phase, cause, _ = requeued(LIMIT, goes_on(), tries, ran(started_at=began), seen)
    assert phase is Phase.FAILED
    is_newer = began is not None and newest is not None and newest >= began
    wanted = is_newer and not problem and before < MOST_REQUEUES
    assert cause is (Cause.REQUEUED if wanted else Cause.TIME_LIMIT)


causes = st.lists(
    st.sampled_from([Cause.REQUEUED, Cause.USER_ERROR, Cause.NOT_STARTED, Cause.TIME_LIMIT]),
    min_size=1,
    max_size=12,
)


@given(causes, st.integers(0, 4))
@examples(100)
def test_requeues_count_as_no_retry(found: list[Cause], most: int) -> None:
    stage = goes_on(retries=Retries(max=most))
    tries = [cut(number, cause) for number, cause in enumerate(found, 1)]
    others = [attempt for attempt in tries if attempt.cause is not Cause.REQUEUED]
    assert counted_failures(tries) == counted_failures(others)
    assert requeues(tries) == len(tries) - len(others)
    task, last = Task(), tries[-1]
    if last.cause is Cause.REQUEUED:
        assert task.is_tried_again(stage, tries)
        assert task.not_before(stage, tries, lab.NOW) is None
    else:
        assert task.is_tried_again(stage, tries) == task.is_tried_again(stage, others)


def test_the_next_attempt_starts_at_once_on_the_host_of_the_checkpoint() -> None:
    made = lab.run("r-1", goes_on(), attempts=[cut(1, host="gpu2", finished_at=lab.NOW)])
    (start,) = plan(lab.snapshot(lab.host(), lab.host("gpu2"), made)).actions
    assert isinstance(start, Start)
    assert (start.attempt.host, start.attempt.number) == ("gpu2", 2)


@pytest.mark.parametrize("away", [{"condition": HostCondition.UNREACHABLE}, {"drained": "mend"}])
def test_it_waits_for_that_host_and_does_not_begin_anew_elsewhere(away: dict[str, Any]) -> None:
    made = lab.run("r-1", goes_on(), attempts=[cut(1, host="gpu2")])
    decided = plan(lab.snapshot(lab.host(), lab.host("gpu2", **away), made))
    assert decided.actions == ()
    reason = decided.reasons["r-1", "train"]
    assert "checkpoint" in " ".join([reason.sentence, *(h.sentence for h in reason.hosts)])


def test_without_that_host_in_the_config_it_begins_elsewhere() -> None:
    made = lab.run("r-1", goes_on(), attempts=[cut(1, host="gpu9")])
    (start,) = plan(lab.snapshot(lab.host(), made)).actions
    assert isinstance(start, Start)


def test_a_run_that_is_cancelled_before_it_goes_on_is_cancelled() -> None:
    made = lab.run("r-1", goes_on(), attempts=[cut(1)], cancelled_by="eve")
    progress = progress_of(made)
    assert progress.status["train"] is StageStatus.CANCELLED
    assert progress.outcome() is Outcome.CANCELLED


def test_after_the_last_requeue_a_retry_is_still_there() -> None:
    stage = goes_on(retries=Retries(max=1))
    tries = [cut(1), cut(2), replace(cut(3), cause=Cause.TIME_LIMIT)]
    assert Task().is_tried_again(stage, tries)
    assert not Task().is_tried_again(stage, [*tries, replace(tries[-1], number=4)])


def test_only_what_runs_can_be_requeued_and_the_refusal_says_why() -> None:
    tries = [
        lab.attempt(stage="a.0"), lab.attempt(stage="b", phase=Phase.COLLECTING),
        lab.attempt(stage="c", phase=Phase.STARTING),
    ]  # fmt: skip
    stages = [lab.stage("a.0", base="a"), lab.stage("b"), lab.stage("c")]
    run = lab.run("r-1", *stages, attempts=tries)
    assert requeueable(run, None, 7) == (tries[0], tries[2])
    assert requeueable(run, "a", 7) == (tries[0],)
    with pytest.raises(ConflictError, match="job 7 does not run yet, or its files are being"):
        requeueable(run, "b", 7)
    with pytest.raises(ConflictError, match="job 7 has ended: only jobs that run"):
        requeueable(None, None, 7)


def test_what_was_requeued_too_often_is_refused() -> None:
    tries = [cut(number) for number in range(1, MOST_REQUEUES + 1)]
    others = [cut(1, stage="other")]
    check_requeues(lab.run("r-1", goes_on(), attempts=[*others, *tries[:-1]]), tries[0])
    with pytest.raises(ConflictError, match=f"{MOST_REQUEUES} times, which is the most"):
        check_requeues(lab.run("r-1", goes_on(), attempts=tries), tries[0])


def test_the_first_reason_to_stop_an_attempt_stays() -> None:
    assert to_be_requeued(lab.attempt(), "by ana") == {
        "stop_reason": Cause.REQUEUED, "stop_detail": "by ana"
    }  # fmt: skip
    assert to_be_requeued(lab.attempt(stop_reason=Cause.STOPPED), "by ana") is None
    assert to_be_requeued(lab.attempt(phase=Phase.COLLECTING), "by ana") is None
