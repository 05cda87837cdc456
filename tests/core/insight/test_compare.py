from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.insight.compare import Side, rows, series
from hostler.model.hosts import HostFacts
from hostler.model.pipelines import Cause
from hostler.model.records import StageMetric
from hostler.model.runs import Outcome, Phase, Run, Source
from hostler.model.views.history import ComparedRow
from tests.support.values import stored


def run(run_id: str = "r1", *, metrics: dict[str, float] | None = None, **fields: Any) -> Run:
    done = stored.attempt(
        run_id,
        phase=Phase.SUCCEEDED,
        started_at=110.0,
        finished_at=170.0,
        metrics=metrics or {},
        usage={"gpu_seconds_allocated": 3600.0, "energy_wh": 10.0},
    )
    made: dict[str, Any] = {
        "attempts": (done,),
        "outcome": Outcome.SUCCEEDED,
        "finished_at": 170.0,
        **fields,
    }
    return stored.run(run_id, **made)


def found(name: str, *sides: Run | Side) -> ComparedRow:
    made = [side if isinstance(side, Side) else Side(side) for side in sides]
    return next(row for row in rows(made, 1000.0) if row.name == name)


def test_parameters_side_by_side() -> None:
    one, other = run(params={"lr": 0.1, "fast": True}), run(params={"lr": 0.2, "model": "vit"})
    assert found("lr", one, other) == ComparedRow(
        section="parameters", name="lr", values=(0.1, 0.2), differs=True
    )
    assert found("fast", one, other).values == ("true", None)
    assert found("model", one, other).values == (None, "vit")
    assert not found("lr", one, one).differs


@pytest.mark.parametrize(
    ("name", "better"),
    [("accuracy", 1), ("val_loss", 0), ("tok/s", 1), ("epoch", None), ("loss_accuracy", None)],
)
def test_the_better_metric_is_told_where_its_name_says_what_is_good(
    name: str, better: int | None
) -> None:
    row = found(name, run(metrics={name: 0.1}), run(metrics={name: 0.2}))
    assert (row.section, row.differs, row.better) == ("metrics", True, better)
    assert found(name, run(metrics={name: 0.1}), run()).better is None
    tied = found(name, *(run(metrics={name: value}) for value in (0.1, 0.1, 0.1)))
    assert (tied.differs, tied.better) == (False, None)
    assert found(name, run(metrics={name: math.nan}), run(metrics={name: 1.0})).better is None


def test_stages_hosts_and_source() -> None:
    failed = stored.attempt(
        "r2", phase=Phase.FAILED, cause=Cause.OOM_GPU, number=2, host="gpu9", gpus=("a", "b")
    )
    one = Side(run(source=Source(git_commit="c1")), facts=(HostFacts(driver="580"),))
    other = Side(run("r2", attempts=(failed,), outcome=Outcome.FAILED), (HostFacts(driver="570"),))
    assert found("train", one, other).values == ("succeeded", f"failed: {Cause.OOM_GPU.value}")
    assert found("train took_s", one, other).values == (60.0, None)
    assert found("hosts", one, other).values == ("gpu1", "gpu9")
    assert found("GPUs", one, other).values == (1.0, 2.0)
    assert found("driver", one, other).values == ("580", "570")
    assert found("commit", one, other).values == ("c1", None)
    assert found("energy_wh", one, other) == ComparedRow(
        section="cost", name="energy_wh", values=(10.0, None), differs=True
    )


def test_cheaper_is_better_only_where_all_succeeded() -> None:
    quick = stored.attempt("r2", phase=Phase.SUCCEEDED, started_at=110.0)
    cheap = run("r2", attempts=(quick,), finished_at=120.0)
    assert found("took_s", run(), cheap).better == 1
    failed = run("r2", attempts=(quick,), finished_at=120.0, outcome=Outcome.FAILED)
    assert found("took_s", run(), failed).better is None


def test_a_run_that_goes_on_has_taken_as_long_as_now() -> None:
    begun = stored.attempt("r2", phase=Phase.RUNNING, started_at=110.0)
    going = run("r2", attempts=(begun,), finished_at=None, outcome=None)
    assert found("took_s", run(), going).values == (60.0, 890.0)
    assert found("train took_s", going).values == (890.0,)


def points(attempt: str, *values: float, steps: bool = True) -> tuple[StageMetric, ...]:
    return tuple(
        StageMetric(attempt, "loss", value, 100.0 + 10 * index, index if steps else None)
        for index, value in enumerate(values)
    )


def test_curves_go_by_step_or_by_time_and_have_no_holes() -> None:
    one = Side(run(), points=points("a", 3.0, math.nan, 1.0))
    other = Side(run(), points=points("b", 9.0) + points("c", 2.0, 4.0))
    assert series([one, other]) == {"loss": (((0.0, 3.0), (2.0, 1.0)), ((0.0, 2.0), (1.0, 4.0)))}
    timed = Side(run(), points=points("d", 5.0, 6.0, steps=False))
    assert series([one, timed])["loss"] == (((0.0, 3.0), (20.0, 1.0)), ((0.0, 5.0), (10.0, 6.0)))
    assert series([one, Side(run())])["loss"][1] == ()


numbers = st.floats(allow_nan=True) | st.integers(-3, 3).map(float)
runs = st.builds(
    run,
    metrics=st.dictionaries(st.sampled_from(["loss", "accuracy", "epoch"]), numbers),
    params=st.dictionaries(st.sampled_from(["lr", "seed"]), numbers | st.text(max_size=3)),
    outcome=st.sampled_from([*Outcome, None]),
)


@given(one=runs, other=runs)
def test_the_order_of_the_runs_changes_only_the_order_of_the_values(one: Run, other: Run) -> None:
    there = {(r.section, r.name): r for r in rows([Side(one), Side(other)], 1000.0)}
    back = {(r.section, r.name): r for r in rows([Side(other), Side(one)], 1000.0)}
    assert there.keys() == back.keys()
    for key, row in there.items():
        turned = back[key]
        assert repr(turned.values) == repr(row.values[::-1])
        assert turned.differs == row.differs
        assert turned.better == (None if row.better is None else 1 - row.better)


@given(made=st.lists(runs, min_size=1, max_size=4))
def test_each_row_has_a_value_a_run_and_nothing_differs_from_itself(made: list[Run]) -> None:
    for row in rows([Side(one) for one in made], 1000.0):
        assert len(row.values) == len(made)
        assert row.better is None or (row.differs and row.values[row.better] is not None)
    same = rows([Side(made[0])] * 3, 1000.0)
    assert not [row for row in same if row.differs or row.better is not None]


def test_with_which_code_each_stage_was_made() -> None:
    dirty = [
        Source(digest=letter * 64, git_commit="c" * 40, git_dirty=letter != "a") for letter in "abc"
    ]
    first = run("r1", source=dirty[0], params={"lr": 0.1})
    kept = {"train": first.attempts[0]}
    retry = run(
        "r2", source=dirty[1], params={"lr": 0.2}, attempts=(), kept=kept,
        origins={"r1": first.origin_of("train")},
    )  # fmt: skip
    other = run("r3", source=dirty[2], params={"lr": 0.2})
    row = found("train code", first, retry, other)
    assert row.values == ("c" * 12, f"{'c' * 12} lr=0.1", f"{'c' * 12} {'c' * 12}")
    assert not [row for row in rows([Side(first), Side(other)], 1.0) if row.name == "train code"]


def test_a_flag_is_told_either_way() -> None:
    yes = run(params={"fast": True}, source=Source(git_dirty=True))
    no = run(params={"fast": False}, source=Source(git_dirty=False))
    assert found("fast", yes, no).values == ("true", "false")
    assert found("uncommitted changes", yes, no).values == ("yes", "no")


def test_two_that_are_best_alike_are_better_than_nobody() -> None:
    sides = [run(metrics={"loss": value}) for value in (0.1, 0.1, 0.2)]
    assert found("loss", *sides).better is None
    assert found("loss", sides[0], sides[2]).better == 0
    infinite = run(metrics={"loss": math.inf})
    assert found("loss", infinite, sides[0]).better is None
    assert found("loss", infinite, *sides[1:]).better == 1


def test_gpu_time_is_told_in_hours() -> None:
    other = run("r2", attempts=())
    assert found("gpu_hours", run(), other).values == (1.0, None)
