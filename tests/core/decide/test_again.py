"""What a retry keeps, what runs again, and why."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from hostler.base.errors import NotFoundError
from hostler.decide import again
from hostler.decide.again import RetryPlan, origins_of, plan_retry
from hostler.model.pipelines import Resources, Stage, StageKind
from hostler.model.runs import Origin, Outcome, Phase, Run, Source
from tests.support.values import planning

PREPARE = planning.stage("prepare", outputs={"data": "out"}, command=("prepare",))
TRAIN = planning.stage(
    "train",
    needs=("prepare",),
    inputs={"data": ("prepare.data",)},
    outputs={"model": "model"},
    command=("train", "0.1"),
    checkpoint="ckpt",
)
EVALUATE = planning.stage(
    "evaluate", needs=("train",), inputs={"model": ("train.model",)}, command=("evaluate",)
)
REPORT = planning.stage("report", needs=("evaluate",), command=("report",))
STAGES = (PREPARE, TRAIN, EVALUATE, REPORT)


def done(name: str, **fields: Any) -> Any:
    return planning.attempt("r1", name, phase=Phase.SUCCEEDED, gpus=(), **fields)


ATTEMPTS = (
    done("prepare", outputs={"data": "d1"}),
    done("train", outputs={"model": "d2"}),
    planning.attempt("r1", "evaluate", phase=Phase.FAILED, gpus=()),
)
OLD = planning.run(
    "r1", *STAGES, attempts=ATTEMPTS, outcome=Outcome.FAILED, params={"lr": 0.1, "n": 1}
)


def plan(
    old: Run = OLD,
    *stages: Stage,
    params: dict[str, Any] | None = None,
    starts: tuple[str, ...] = (),
    gone: tuple[str, ...] = (),
) -> RetryPlan:
    now = dict(old.params) if params is None else params
    return plan_retry(old, stages or old.stages, now, starts, lambda digest: digest not in gone)


def why(found: RetryPlan) -> dict[str, str]:
    return {stage.name: stage.why for stage in found.stages if not stage.kept}


def test_what_succeeded_is_kept_and_the_rest_runs() -> None:
    found = plan()
    assert list(found.kept) == ["prepare", "train"]
    assert why(found) == {"evaluate": "it failed", "report": "it was skipped"}
    assert [stage.kept_from for stage in found.stages] == ["r1", "r1", None, None]


def test_a_changed_definition_runs_again_with_what_needs_it() -> None:
    found = plan(OLD, PREPARE, replace(TRAIN, command=("train", "0.2")), EVALUATE, REPORT)
    assert list(found.kept) == ["prepare"]
    assert why(found)["train"] == "its command changed"
    assert found.anew == {"train"}


def test_a_mount_at_another_path_is_a_change_of_its_mounts() -> None:
    moved = replace(TRAIN, mount_targets={"/output": "data"})
    assert why(plan(OLD, PREPARE, moved, EVALUATE, REPORT))["train"] == "its mounts changed"


@pytest.mark.parametrize(
    "change",
    [{"args": {"CUDA": "12"}}, {"dockerfile": "gpu"}, {"context": "docker"}, {"target": "run"}],
)
def test_an_image_of_another_definition_is_built_again(change: dict[str, Any]) -> None:
    build = planning.stage("prepare", kind="build", command=())
    built = planning.run("r1", build, attempts=[done("prepare", image_digest="sha256:1")])
    assert list(plan(built, build).kept) == ["prepare"]
    (key,) = change
    assert why(plan(built, replace(build, **change))) == {"prepare": f"its {key} changed"}


def test_what_only_had_to_end_runs_again_when_it_has_to_succeed_and_the_reverse() -> None:
    relaxed = replace(TRAIN, needs_ended=frozenset({"prepare"}))
    assert why(plan(OLD, PREPARE, relaxed, EVALUATE, REPORT))["train"] == "its needs changed"


@pytest.mark.parametrize(
    "change",
    [
        {"env": {"A": "1"}},
        {"image": "x"},
        {"venv": "requirements.txt"},
        {"conda": "e"},
        {"modules": ("cuda",)},
        {"workdir": "x"},
        {"outputs": {"model": "model", "log": "log"}},
        {"resources": Resources(gpus=2)},
        {"when": "params.lr > 0"},
        {"cell": {"lr": 0.1}},
    ],
)
def test_whatever_bears_on_the_result_is_a_change(change: dict[str, Any]) -> None:
    assert "train" in plan(OLD, PREPARE, replace(TRAIN, **change), EVALUATE, REPORT).again


@pytest.mark.parametrize(
    "change",
    [
        {"timeout": 5.0},
        {"priority": -1},
        {"resources": Resources(cpus=4, ram=1, hosts=("gpu1",))},
        {"program": "/elsewhere/python"},
        {"fail_fast": False},
        {"outputs": {}},
    ],
)
def test_limits_and_places_cost_no_training(change: dict[str, Any]) -> None:
    assert "train" not in plan(OLD, PREPARE, replace(TRAIN, **change), replace(EVALUATE, inputs={}),
                               REPORT).again  # fmt: skip


def test_from_runs_a_stage_and_all_that_need_it_again() -> None:
    found = plan(starts=("train",))
    assert list(found.kept) == ["prepare"]
    assert why(found) == {
        "train": "named by --from",
        "evaluate": "it failed",
        "report": "it was skipped",
    }
    assert found.anew == {"train"}


def test_from_names_all_cells_or_one() -> None:
    cells = [
        replace(TRAIN, name=f"train.{n}", base="train", cell={"n": n}, inputs={}) for n in (0, 1)
    ]
    last = planning.stage("last", needs=("train.0",))
    old = planning.run(
        "r1", PREPARE, *cells, last, outcome=Outcome.SUCCEEDED,
        attempts=[done(name) for name in ("prepare", "train.0", "train.1", "last")],
    )  # fmt: skip
    assert plan(old, starts=("train",)).again == {"train.0", "train.1", "last"}
    assert plan(old, starts=("train.1",)).again == {"train.1"}
    with pytest.raises(NotFoundError, match="no stage 'trian'") as raised:
        plan(old, starts=("trian",))
    assert raised.value.remedy == "its stages: prepare, train, last"


def test_a_parameter_in_an_expression_or_a_variable_counts() -> None:
    gate = planning.stage("gate", kind=StageKind.GATE, conditions=("acc > params.least",))
    line = planning.stage("line", command=("echo $HOSTLER_PARAM_LEAST",), shell=True)
    other = planning.stage("other")
    old = planning.run(
        "r1", gate, line, other, attempts=[done(s.name) for s in (gate, line, other)],
        outcome=Outcome.SUCCEEDED, params={"least": 0.5},
    )  # fmt: skip
    found = plan(old, params={"least": 0.4})
    assert why(found) == {"gate": "it uses least", "line": "it uses least"}
    assert plan(old).again == frozenset()


def test_a_producer_whose_output_is_gone_runs_again() -> None:
    found = plan(gone=("d2",))
    assert why(found)["train"] == "its output model is no longer kept"
    assert list(found.kept) == ["prepare"]
    # ... and one that the producer needs itself.
    assert plan(gone=("d1", "d2")).kept == {}
    assert list(plan(gone=("d1",)).kept) == ["prepare", "train"]  # nobody needs it again


def test_what_failed_goes_on_from_its_checkpoint_unless_its_inputs_are_others() -> None:
    failed = replace(
        OLD, attempts=(ATTEMPTS[0], planning.attempt("r1", "train", phase=Phase.FAILED, gpus=()))
    )
    assert plan(failed).anew == frozenset()
    assert plan(failed, starts=("prepare",)).anew == {"train"}
    other = (PREPARE, replace(TRAIN, command=("x",)), EVALUATE, REPORT)
    assert plan(failed, *other).anew == {"train"}


def test_a_retry_remembers_the_code_of_each_stage_it_keeps() -> None:
    first, second, third = (Source(digest=digest * 64) for digest in "123")
    old = replace(OLD, source=first)
    kept = {"prepare": ATTEMPTS[0], "train": ATTEMPTS[1]}
    retry = replace(OLD, run_id="r2", source=second, attempts=(), kept=kept, retry_of="r1")
    retry = replace(retry, origins=origins_of(old, retry))
    assert retry.origins == {"r1": Origin(first, OLD.params)}
    again = planning.attempt("r2", "evaluate", phase=Phase.SUCCEEDED, gpus=())
    retry = replace(retry, attempts=(again,))
    last = replace(retry, run_id="r3", source=third, kept={**kept, "evaluate": again})
    last = replace(last, origins=origins_of(retry, last))
    assert last.origin_of("train").source == first
    assert last.origin_of("evaluate").source == second
    assert last.origin_of("report").source == third
    same = replace(retry, run_id="r4", kept={**kept, "evaluate": again}, attempts=())
    assert origins_of(retry, same).keys() == {"r1"}


def cells(*values: float, **fields: Any) -> list[Stage]:
    return [
        planning.stage(f"train.{n}", base="train", cell={"lr": lr}, command=("train", str(lr)),
                       outputs={"model": "m"}, **fields)
        for n, lr in enumerate(values)
    ]  # fmt: skip


def test_a_cell_is_the_same_wherever_it_stands_in_the_matrix() -> None:
    score = [
        planning.stage(f"score.{n}", base="score", cell={"lr": lr}, needs=(f"train.{n}",),
                       inputs={"model": (f"train.{n}.model",)})
        for n, lr in enumerate((0.1, 0.3))
    ]  # fmt: skip
    best = planning.stage("best", needs=("train.0", "train.1"))
    old = planning.run(
        "r1", *cells(0.1, 0.3), *score, best, outcome=Outcome.SUCCEEDED,
        attempts=[
            *(done(f"train.{n}", outputs={"model": f"d{n}"}) for n in (0, 1)),
            *(done(name) for name in ("score.0", "score.1", "best")),
        ],
    )  # fmt: skip
    more = [
        replace(score[0], name="score.0"),
        replace(score[0], name="score.1", cell={"lr": 0.2}, needs=("train.1",),
                inputs={"model": ("train.1.model",)}),
        replace(score[1], name="score.2", needs=("train.2",), inputs={"model": ("train.2.model",)}),
    ]  # fmt: skip
    new_best = replace(best, needs=("train.0", "train.1", "train.2"))
    found = plan(old, *cells(0.1, 0.2, 0.3), *more, new_best)
    assert why(found) == {
        "train.1": "it is new", "score.1": "it is new", "best": "its needs changed",
    }  # fmt: skip
    moved = found.kept["train.2"]
    assert (moved.attempt_id, moved.stage) == ("r1-train.1-1", "train.2")
    assert found.kept["score.2"].attempt_id == "r1-score.1-1"
    # An output of what has moved is looked for under its own attempt.
    gone = plan(old, *cells(0.1, 0.2, 0.3), *more, new_best, gone=("d1",), starts=("score.2",))
    assert why(gone)["train.2"] == "its output model is no longer kept"


def test_a_cell_that_moved_takes_no_checkpoint_of_another() -> None:
    old = planning.run(
        "r1", *cells(0.1, 0.3, checkpoint="c"), outcome=Outcome.FAILED,
        attempts=[planning.attempt("r1", f"train.{n}", phase=Phase.FAILED, gpus=())
                  for n in (0, 1)],
    )  # fmt: skip
    found = plan(old, *cells(0.1, 0.2, 0.3, 0.4, checkpoint="c"))
    assert why(found) == {
        "train.0": "it failed",
        "train.1": "it is new",
        "train.2": "it failed",
        "train.3": "it is new",
    }
    assert found.anew == {"train.1", "train.2"}


def test_a_chain_of_thousands_whose_outputs_are_gone_is_planned_at_once() -> None:
    count = 4000
    stages = [planning.stage("s0", outputs={"o": "o"})]
    for n in range(1, count):
        of = f"s{n - 1}"
        inputs = {"i": (f"{of}.o",)}
        stages.append(planning.stage(f"s{n}", needs=(of,), inputs=inputs, outputs={"o": "o"}))
    ended = [done(s.name, outputs={"o": s.name}) for s in stages[:-1]]
    failed = planning.attempt("r1", stages[-1].name, phase=Phase.FAILED, gpus=())
    old = planning.run("r1", *stages, attempts=[*ended, failed], outcome=Outcome.FAILED)
    begun = time.thread_time()
    found = plan_retry(old, old.stages, {}, (), lambda _: False)
    assert time.thread_time() - begun < 5
    assert len(found.again) == count


def test_each_expression_is_read_once_however_many_parameters_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []

    def note(text: str) -> list[str]:
        read.append(text)
        return ["params.p7", "params.p3"]

    monkeypatch.setattr(again, "names_in", note)
    stages = [planning.stage(f"s{n}", when="a new expression") for n in range(50)]
    before = {f"p{n}": 0 for n in range(50)}
    ended = [done(s.name) for s in stages]
    old = planning.run(
        "r1", *stages, attempts=ended, outcome=Outcome.SUCCEEDED, params=before
    )  # fmt: skip
    found = plan_retry(old, old.stages, dict.fromkeys(before, 1), (), lambda _: True)
    assert read == ["a new expression"]
    assert {stage.why for stage in found.stages} == {"it uses p3"}


def test_asking_of_each_of_thousands_of_cells_whether_it_runs_again_takes_no_time() -> None:
    stages = [planning.stage(f"s.{n}", base="s", cell={"n": n}) for n in range(10_000)]
    old = planning.run("r1", *stages, outcome=Outcome.CANCELLED, cancelled_by="ana")
    found = plan_retry(old, old.stages, {}, (), lambda _: True)
    begun = time.thread_time()
    assert all(stage.name in found.again for stage in stages)
    assert time.thread_time() - begun < 2


def test_after_a_retry_any_stage_may_have_had_a_checkpoint() -> None:
    """Which stages had begun in the runs before the last one is not known."""
    changed = replace(TRAIN, command=("train", "longer"))
    stages = (PREPARE, changed, EVALUATE, REPORT)
    untried = replace(OLD, attempts=ATTEMPTS[:1])
    assert plan(untried, *stages).anew == frozenset()
    assert plan(replace(untried, retry_of="r0"), *stages).anew == {"train"}
