"""Where stages and runs are, computed from attempts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.decide.index import PlanCache
from hostler.decide.plan import plan
from hostler.decide.progress import progress_of
from hostler.model.pipelines import After, Cause, Retries, Stage
from hostler.model.plans import EndRun, RemedyKind, Start
from hostler.model.runs import Attempt, Outcome, Phase, Run, Source, StageStatus
from tests.support.values import planning as lab

OK, FAILED = StageStatus.SUCCEEDED, StageStatus.FAILED
WAITING, SKIPPED = StageStatus.WAITING, StageStatus.SKIPPED
CANCELLED = StageStatus.CANCELLED


def done(stage: str, **fields: Any) -> Attempt:
    return lab.attempt(stage=stage, phase=Phase.SUCCEEDED, gpus=(), **fields)


def failed(stage: str, cause: Cause = Cause.USER_ERROR, number: int = 1, **fields: Any) -> Attempt:
    phase = Phase.CANCELLED if cause is Cause.STOPPED else Phase.FAILED
    return lab.attempt(stage=stage, number=number, phase=phase, gpus=(), cause=cause, **fields)


def statuses(run: Run) -> list[StageStatus]:
    progress = progress_of(run)
    return [progress.status[stage.name] for stage in run.stages]


A = lab.stage("a")
B = lab.stage("b", needs=("a",))
C = lab.stage("c", needs=("b",))


@pytest.mark.parametrize(
    ("attempts", "expected", "outcome"),
    [
        ([], [WAITING, WAITING, WAITING], None),
        ([done("a")], [OK, WAITING, WAITING], None),
        ([lab.attempt(stage="a")], [StageStatus.RUNNING, WAITING, WAITING], None),
        (
            [lab.attempt(stage="a", phase=Phase.STARTING)],
            [StageStatus.STARTING, WAITING, WAITING],
            None,
        ),
        ([failed("a")], [FAILED, SKIPPED, SKIPPED], Outcome.FAILED),
        ([failed("a", Cause.STOPPED)], [CANCELLED, SKIPPED, SKIPPED], Outcome.CANCELLED),
        ([failed("a", Cause.NOT_STARTED)], [WAITING, WAITING, WAITING], None),
        ([done("a"), done("b"), done("c")], [OK, OK, OK], Outcome.SUCCEEDED),
    ],
)
def test_a_chain(
    attempts: list[Attempt], expected: list[StageStatus], outcome: Outcome | None
) -> None:
    run = lab.run("r-1", A, B, C, attempts=attempts)
    assert statuses(run) == expected
    assert progress_of(run).outcome() is outcome
    assert progress_of(run).status[C.name] is expected[2]
    ends = lab.of_kind(plan(lab.snapshot(lab.host(), run)).actions, EndRun)
    assert ends == ([] if outcome is None else [EndRun("r-1", outcome)])


CLEAN = lab.stage("clean", needs=("b", "a"), needs_ended=frozenset({"b"}))


@pytest.mark.parametrize(
    ("attempts", "expected", "note"),
    [
        ([done("a")], WAITING, None),
        ([done("a"), failed("b")], WAITING, None),  # ready
        ([done("a"), failed("b", Cause.STOPPED)], WAITING, None),
        ([done("a"), done("b")], WAITING, None),
        ([failed("a")], SKIPPED, "needs a, which failed"),
        ([done("a"), failed("b"), done("clean")], OK, None),
    ],
)
def test_a_need_that_only_has_to_end(
    attempts: list[Attempt], expected: StageStatus, note: str | None
) -> None:
    progress = progress_of(lab.run("r-1", A, B, CLEAN, attempts=attempts))
    assert progress.status["clean"] is expected
    assert progress.notes.get("clean") == note
    ended = any(a.stage == "b" for a in attempts) and not progress.tries.get("clean")
    assert (CLEAN in progress.ready) is ended


def test_what_only_has_to_end_may_also_be_skipped_but_not_be_waiting_for_a_retry() -> None:
    all_ended = replace(CLEAN, needs=("b", "c"), needs_ended=frozenset({"b", "c"}))
    progress = progress_of(lab.run("r-1", A, B, C, all_ended, attempts=[failed("a")]))
    assert progress.status["c"] is SKIPPED
    assert progress.ready == [all_ended]
    assert progress.outcome() is None
    tried = replace(B, retries=Retries(max=1))
    attempts = [done("a"), failed("b")]
    again = progress_of(lab.run("r-1", A, tried, CLEAN, attempts=attempts))
    assert again.ready == [tried]
    assert again.unmet(CLEAN) == ("b",)


def test_the_end_of_a_failed_stage_makes_no_success_of_the_run() -> None:
    attempts = [done("a"), failed("b"), done("clean")]
    run = lab.run("r-1", A, B, CLEAN, attempts=attempts)
    assert progress_of(run).outcome() is Outcome.FAILED
    cancelled = replace(run, cancelled_by="bo", attempts=tuple(attempts[:2]))
    assert progress_of(cancelled).status["clean"] is CANCELLED


_ENDS = st.sampled_from([None, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.RUNNING])


@given(
    st.lists(st.tuples(_ENDS, st.lists(st.tuples(st.integers(0, 7), st.booleans()))), max_size=8)
)
def test_every_stage_waits_for_what_it_needs_and_for_nothing_else(
    drawn: list[tuple[Phase | None, list[tuple[int, bool]]]],
) -> None:
    stages, attempts = [], []
    for number, (phase, needs) in enumerate(drawn):
        chosen = {f"s{n}": ended for n, ended in needs if n < number}
        ended = frozenset(name for name, only_end in chosen.items() if only_end)
        stages.append(lab.stage(f"s{number}", needs=tuple(chosen), needs_ended=ended))
        if phase is not None:
            cause = None if phase in (Phase.SUCCEEDED, Phase.RUNNING) else Cause.USER_ERROR
            attempts.append(lab.attempt(stage=f"s{number}", phase=phase, gpus=(), cause=cause))
    progress = progress_of(lab.run("r-1", *stages, attempts=attempts))
    for stage in (s for s in stages if s.name not in progress.tries):
        has = {name: progress.status[name] for name in stage.needs}
        strict = [status for name, status in has.items() if name not in stage.needs_ended]
        broken = any(status.is_final and status is not OK for status in strict)
        ready = all(status is OK for status in strict) and all(s.is_final for s in has.values())
        assert (progress.status[stage.name] is SKIPPED) is broken
        assert (stage in progress.ready) is ready
        assert bool(progress.unmet(stage)) is not ready


def test_file_order_need_not_be_the_order_of_needs() -> None:
    run = lab.run("r-1", C, B, A, attempts=[done("a")])
    assert statuses(run) == [WAITING, WAITING, OK]
    assert progress_of(run).ready == [B]


def test_a_cancelled_run() -> None:
    run = lab.run("r-1", A, B, C, attempts=[done("a"), lab.attempt(stage="b")], cancelled_by="eve")
    assert statuses(run) == [OK, StageStatus.RUNNING, CANCELLED]
    assert progress_of(run).outcome() is None
    over = replace(run, attempts=(done("a"), failed("b", Cause.STOPPED)))
    assert progress_of(over).outcome() is Outcome.CANCELLED


def test_a_cancel_that_came_too_late_changes_nothing() -> None:
    run = lab.run("r-1", A, attempts=[done("a")], cancelled_by="eve")
    assert progress_of(run).outcome() is Outcome.SUCCEEDED


def test_a_cancelled_run_is_not_retried() -> None:
    stage = lab.stage("a", retries=Retries(max=5))
    run = lab.run("r-1", stage, attempts=[failed("a")], cancelled_by="eve")
    assert statuses(run) == [FAILED]


def test_kept_stages_are_not_repeated() -> None:
    run = lab.run("r-2", A, B, kept={"a": done("a", metrics={"x": 1.0})})
    assert statuses(run) == [OK, WAITING]
    assert progress_of(run).metrics("a") == {"x": 1.0}


@pytest.mark.parametrize(
    ("when", "status", "outcome"),
    [
        ("a.loss < 1", WAITING, None),
        ("a.loss > 1", SKIPPED, Outcome.SUCCEEDED),
        ("params.deep", WAITING, None),
        ("a.accuracy > 0", FAILED, Outcome.FAILED),
    ],
)
def test_when(when: str, status: StageStatus, outcome: Outcome | None) -> None:
    stage = lab.stage("b", needs=("a",), when=when)
    run = lab.run(
        "r-1", A, stage, attempts=[done("a", metrics={"loss": 0.5})], params={"deep": True}
    )
    assert statuses(run) == [OK, status]
    assert progress_of(run).outcome() is outcome


def test_when_sees_the_cells_of_a_matrix() -> None:
    cells = [lab.stage(f"a.{i}", base="a", cell={"i": i}) for i in range(2)]
    stage = lab.stage("b", needs=("a.0", "a.1"), when="min(a.loss) < 1 and max(a.loss) > 1")
    attempts = [done(f"a.{i}", metrics={"loss": 0.5 + i}) for i in range(2)]
    assert statuses(lab.run("r-1", *cells, stage, attempts=attempts))[2] is WAITING


def test_a_dependent_of_a_skipped_stage_is_skipped() -> None:
    run = lab.run("r-1", lab.stage("a", when="params.deep"), B, params={"deep": False})
    assert statuses(run) == [SKIPPED, SKIPPED]
    assert progress_of(run).outcome() is Outcome.SUCCEEDED


CELLS = [lab.stage(f"t.{i}", base="t", retries=Retries(max=1)) for i in range(3)]


def test_fail_fast_cancels_cells_that_wait_and_ends_retries() -> None:
    attempts = [failed("t.0"), failed("t.0", number=2), failed("t.1")]
    assert statuses(lab.run("r-1", *CELLS, attempts=attempts)) == [FAILED, FAILED, CANCELLED]


def test_without_fail_fast_the_other_cells_go_on() -> None:
    cells = [replace(cell, fail_fast=False) for cell in CELLS]
    attempts = [failed("t.0"), failed("t.0", number=2), failed("t.1")]
    assert statuses(lab.run("r-1", *cells, attempts=attempts)) == [FAILED, WAITING, WAITING]


@pytest.mark.parametrize(
    ("causes", "retries", "status"),
    [
        ([Cause.USER_ERROR], Retries(max=1), WAITING),
        ([Cause.USER_ERROR, Cause.USER_ERROR], Retries(max=1), FAILED),
        ([Cause.NOT_STARTED] * 5, Retries(max=0), WAITING),
        ([Cause.NOT_STARTED, Cause.USER_ERROR], Retries(max=1), WAITING),
        ([Cause.USER_ERROR], Retries(max=1, on=(Cause.GPU_LOST,)), FAILED),
        ([Cause.GPU_LOST], Retries(max=1, on=(Cause.GPU_LOST,)), WAITING),
    ],
)
def test_retries(causes: list[Cause], retries: Retries, status: StageStatus) -> None:
    attempts = [failed("a", cause, i + 1) for i, cause in enumerate(causes)]
    run = lab.run("r-1", lab.stage("a", retries=retries), attempts=attempts)
    assert statuses(run) == [status]
    assert progress_of(run).next_number("a") == len(causes) + 1


def test_a_retry_waits_twice_as_long_each_time_and_the_plan_wakes_for_it() -> None:
    stage = lab.stage("a", retries=Retries(max=9, backoff=100.0))
    first = lab.run("r-1", stage, attempts=[failed("a", finished_at=lab.NOW - 30)])
    decided = plan(lab.snapshot(lab.host(), first))
    assert decided.actions == ()
    assert decided.wake_at == lab.NOW + 70
    reason = decided.reasons["r-1", "a"]
    assert reason.remedies[0].kind is RemedyKind.WAIT_UNTIL
    assert reason.remedies[0].value == lab.NOW + 70
    tries = [failed("a", number=i + 1, finished_at=lab.NOW - 30) for i in range(2)]
    second = plan(lab.snapshot(lab.host(), replace(first, attempts=tuple(tries))))
    assert second.wake_at == lab.NOW + 170
    late = plan(lab.snapshot(lab.host(asked_at=lab.NOW + 70), first, now=lab.NOW + 70))
    (start,) = lab.of_kind(late.actions, Start)
    assert (start.attempt.attempt_id, start.attempt.number) == ("r-1-a-2", 2)


def test_refused_claims_are_tried_again_at_once_and_then_ever_more_slowly() -> None:
    def pause(times: int) -> float:
        tries = [failed("a", Cause.NOT_STARTED, i + 1, finished_at=lab.NOW) for i in range(times)]
        progress = progress_of(lab.run("r-1", A, attempts=tries))
        return (progress.not_before(A, lambda ended: ended.finished_at or 0.0) or 0.0) - lab.NOW

    assert [pause(n) for n in (1, 2, 3, 4, 12)] == [0, 1, 3, 7, 60]


def test_max_parallel_holds_cells_back_and_says_so() -> None:
    cells = [lab.stage(f"t.{i}", base="t", max_parallel=2) for i in range(4)]
    running = lab.attempt(stage="t.0", gpus=())
    host = lab.host(look={"workloads": (lab.workload(running),)})
    decided = plan(lab.snapshot(host, lab.run("r-1", *cells, attempts=[running])))
    assert [a.stage.name for a in lab.of_kind(decided.actions, Start)] == ["t.1"]
    assert "max_parallel is 2" in decided.reasons["r-1", "t.2"].sentence
    assert decided.reasons["r-1", "t.2"].remedies[0].kind is RemedyKind.WAIT_FOR_ATTEMPT


def test_ten_thousand_stages_in_a_chain() -> None:
    stages = [lab.stage(f"s{i}", needs=(f"s{i - 1}",) if i else ()) for i in range(10_000)]
    progress = progress_of(lab.run("r-1", *reversed(stages)))
    assert [stage.name for stage in progress.ready] == ["s0"]
    decided = plan(lab.snapshot(lab.host(), lab.run("r-1", *stages)))
    assert len(decided.actions) == 1
    assert "s0" in decided.reasons["r-1", "s1"].sentence


@pytest.mark.parametrize(
    ("stages", "attempts", "run", "notes"),
    [
        ([A, B, C], [failed("a")], {}, {
            "b": "needs a, which failed", "c": "needs b, which was skipped",
        }),
        ([A, lab.stage("x"), lab.stage("y", needs=("a", "x"))], [failed("a"), failed("x")], {}, {
            "y": "needs a, which failed (and 1 more)",
        }),
        ([A, lab.stage("x"), lab.stage("y", needs=("a", "x"))], [done("a"), failed("x")], {}, {
            "y": "needs x, which failed",
        }),
        ([A, B], [failed("a", Cause.STOPPED)], {}, {"b": "needs a, which was cancelled"}),
        ([A, B], [], {"cancelled_by": "eve"}, {
            "a": "cancelled by eve", "b": "cancelled by eve",
        }),
        ([A, B], [failed("a")], {"cancelled_by": "eve"}, {"b": "needs a, which failed"}),
        ([lab.stage("a", when="params.deep")], [], {"params": {"deep": False}}, {
            "a": "its `when` is false: params.deep",
        }),
        ([lab.stage("a", when="1 < 2")], [], {}, {}),
    ],
)  # fmt: skip
def test_why_a_stage_never_starts_is_noted(
    stages: list[Stage], attempts: list[Attempt], run: dict[str, Any], notes: dict[str, str]
) -> None:
    assert progress_of(lab.run("r-1", *stages, attempts=attempts, **run)).notes == notes


def test_cells_that_end_for_another_say_for_which() -> None:
    attempts = [failed("t.0"), failed("t.0", number=2), failed("t.1")]
    progress = progress_of(lab.run("r-1", *CELLS, attempts=attempts))
    assert progress.notes == {"t.1": "t.0 failed (fail_fast)", "t.2": "t.0 failed (fail_fast)"}


def test_a_cell_that_nothing_ran_of_is_cancelled_and_not_failed_by_another() -> None:
    attempts = [failed("t.0"), failed("t.0", number=2), failed("t.1", Cause.NOT_STARTED)]
    assert statuses(lab.run("r-1", *CELLS, attempts=attempts)) == [FAILED, CANCELLED, CANCELLED]


def test_of_a_cell_that_ends_for_another_its_last_attempt_decides() -> None:
    others = [failed("t.0"), failed("t.0", number=2)]
    for causes, status in (
        ((Cause.USER_ERROR, Cause.NOT_STARTED), CANCELLED),
        ((Cause.NOT_STARTED, Cause.USER_ERROR), FAILED),
    ):
        tries = [failed("t.1", cause, number=number) for number, cause in enumerate(causes, 1)]
        run = lab.run("r-1", *CELLS, attempts=[*others, *tries])
        assert statuses(run) == [FAILED, status, CANCELLED]


def test_attempts_of_what_is_kept_or_gone_change_nothing() -> None:
    attempts = [failed("gone"), failed("a")]
    run = lab.run("r-2", A, B, kept={"a": done("a")}, attempts=attempts)
    assert statuses(run) == [OK, WAITING]


def test_the_number_of_the_next_attempt_follows_the_highest() -> None:
    progress = progress_of(lab.run("r-1", A, attempts=[failed("a", number=4)]))
    assert (progress.next_number("a"), progress.next_number("b")) == (5, 1)


def test_metrics_are_those_of_the_last_success() -> None:
    tries = [done("a", metrics={"x": 1.0}), done("a", number=2, metrics={"x": 2.0})]
    progress = progress_of(lab.run("r-1", A, B, attempts=[*tries, failed("b", metrics={"y": 1.0})]))
    assert (progress.metrics("a"), progress.metrics("b")) == ({"x": 2.0}, {})


def pause(*causes: Cause, backoff: float = 100.0) -> float:
    """Seconds until the next attempt after these, each a second after the one before."""
    stage = lab.stage("a", retries=Retries(max=99, backoff=backoff))
    tries = [
        failed("a", cause, number, finished_at=lab.NOW + number)
        for number, cause in enumerate(causes, 1)
    ]
    progress = progress_of(lab.run("r-1", stage, attempts=tries))
    at = progress.not_before(stage, lambda ended: ended.finished_at or 0.0)
    return (at or 0.0) - (lab.NOW + len(causes))


def test_pauses_grow_with_what_failed_in_a_row_up_to_a_limit() -> None:
    user, fault, refused = Cause.USER_ERROR, Cause.HOST_FAULT, Cause.NOT_STARTED
    assert [pause(*[user] * n) for n in (1, 2, 3, 4, 9)] == [100, 200, 400, 600, 600]
    assert [pause(*[fault] * n) for n in (1, 4, 10, 20)] == [0, 7, 511, 600]
    assert [pause(*[refused] * n) for n in (6, 7, 20)] == [31, 60, 60]
    assert pause(refused, refused, fault, refused, refused) == 1
    assert pause(refused, fault) == 0
    assert pause(user, refused, refused, user) == 200
    assert progress_of(lab.run("r-1", A)).not_before(A, lambda ended: 0.0) is None


@pytest.mark.parametrize(
    ("attempts", "run", "outcome"),
    [
        ([done("a"), failed("x")], {}, Outcome.FAILED),
        ([done("a"), failed("x")], {"cancelled_by": "eve"}, Outcome.CANCELLED),
        ([failed("a", Cause.STOPPED), failed("x")], {}, Outcome.FAILED),
        ([failed("a", Cause.STOPPED), done("x")], {}, Outcome.CANCELLED),
        ([done("a"), done("x")], {"cancelled_by": "eve"}, Outcome.SUCCEEDED),
        ([done("a"), lab.attempt(stage="x")], {"cancelled_by": "eve"}, None),
    ],
)
def test_how_a_run_of_two_ends(
    attempts: list[Attempt], run: dict[str, Any], outcome: Outcome | None
) -> None:
    made = lab.run("r-1", A, lab.stage("x"), attempts=attempts, **run)
    assert progress_of(made).outcome() is outcome


def test_a_stage_that_succeeded_once_stays_so() -> None:
    assert statuses(lab.run("r-1", A, attempts=[done("a"), failed("a", number=2)])) == [OK]


@pytest.mark.parametrize(
    ("failures", "status"), [(99, WAITING), (100, FAILED)], ids=["again", "given up"]
)
def test_a_stage_that_a_hundred_hosts_could_not_start_fails(
    failures: int, status: StageStatus
) -> None:
    tries = [failed("a", Cause.HOST_FAULT, number) for number in range(1, failures + 1)]
    assert statuses(lab.run("r-1", A, attempts=tries)) == [status]


def test_what_is_ready_stands_in_file_order_whoever_needs_it() -> None:
    stages = [lab.stage("late", needs=("p",)), lab.stage("mid"), lab.stage("p")]
    assert [stage.name for stage in progress_of(lab.run("r-1", *stages)).ready] == ["mid", "p"]


def test_a_plan_cache_follows_what_changes_of_a_run() -> None:
    cache = PlanCache()
    first = lab.run("r-1", lab.stage(code="here"), source=Source(path="/a"))
    assert cache.request(first, first.stages[0]).here == "/a"
    moved = replace(first, source=Source(path="/b"))
    assert cache.request(moved, moved.stages[0]).here == "/b"
    larger = replace(moved, stages=(lab.stage(gpus=3),))
    assert cache.request(larger, larger.stages[0]).gpus == 3
    assert cache.progress(larger).run is larger
    assert cache.progress(first).run is first


@pytest.mark.parametrize("only_end", [False, True])
@pytest.mark.parametrize("outcome", [None, "succeeded", "failed", "cancelled", "removed"])
def test_a_stage_starts_when_the_runs_before_it_have_ended(
    outcome: str | None, only_end: bool
) -> None:
    first = replace(A, after=(After("r-0", only_end),))
    awaited = {"r-0": outcome} if outcome else {}
    progress = progress_of(lab.run("r-1", first, B, awaited=awaited))
    starts = outcome == "succeeded" or (only_end and outcome is not None)
    assert (progress.ready == [first]) is starts
    missed = outcome not in (None, "succeeded") and not only_end
    assert (progress.outcome() is Outcome.CANCELLED) is missed
    if missed:
        assert progress.notes["a"].startswith("it should have started after run r-0, which ")
        assert progress.status["b"] is SKIPPED
    if outcome is None:
        end = "end" if only_end else "succeed"
        assert progress.waits_for_runs(first) == f"waits for run r-0 to {end}"


def test_an_ended_run_of_which_the_awaited_ones_are_not_known_says_for_whom_it_waited() -> None:
    first = replace(A, after=(After("r-0"),))
    progress = progress_of(lab.run("r-1", first, outcome=Outcome.CANCELLED))
    assert progress.status["a"] is CANCELLED
    assert progress.notes["a"] == "it should have started after r-0, and its run ended before"
