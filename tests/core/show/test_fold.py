"""Long matrices on a terminal, and in a pipe."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hostler.cli.live import live_lines
from hostler.model.codec import from_answer
from hostler.model.views.plans import WhyView
from hostler.model.views.runs import StageView
from hostler.show.fold import Cells, fold, size_of
from hostler.show.plan import alike_folded
from hostler.show.runs import stage_or_cells_row
from hostler.show.why import answer_lines
from tests.support.values.run_objects import NOW, run, stage


def cells(*statuses: str) -> list[StageView]:
    return [stage(f"train.{n}", status) for n, status in enumerate(statuses)]


def shown(stages: list[StageView], room: int) -> list[str]:
    return [row.label if isinstance(row, Cells) else row.name for row in fold(stages, room)]


def test_what_fits_is_not_folded() -> None:
    assert shown(cells("waiting", "running"), 2) == ["train.0", "train.1"]


def test_what_runs_and_failed_is_shown_singly_and_what_waits_as_one_row() -> None:
    stages = [stage("prep", "succeeded"), *cells("running", "failed", *["waiting"] * 298)]
    assert shown(stages, 20) == ["prep", "train.0", "train.1", "train: 298 cells"]


def test_more_that_runs_than_there_is_room() -> None:
    stages = cells(*["running"] * 50, *["waiting"] * 250)
    assert shown(stages, 5) == [
        "train.0",
        "train.1",
        "train.2",
        "train: 47 more",
        "train: 250 cells",
    ]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(
        ["waiting", "running", "starting", "succeeded", "failed", "cancelled", "skipped"]))),
    st.integers(14, 40),
)  # fmt: skip
def test_every_stage_is_in_one_row_and_the_rows_fit(
    kinds: list[tuple[str, str]], room: int
) -> None:
    stages = [stage(f"{base}.{n}", status) for n, (base, status) in enumerate(kinds)]
    rows = fold(stages, room)
    assert len(rows) <= room
    assert sum(map(size_of, rows)) == len(stages)


def test_a_row_of_cells_says_what_is_the_same_of_them_all() -> None:
    waiting = [stage(f"t.{n}", reason={"sentence": "waits for prep"}) for n in range(9)]
    [row] = fold(waiting, 1)
    assert stage_or_cells_row(row, run(), NOW, {}) == [
        "t: 9 cells", "waiting", "-", "3m12s", "-", "waits for prep",
    ]  # fmt: skip
    [row] = fold(cells(*["succeeded"] * 9), 1)
    assert stage_or_cells_row(row, run(), NOW, {})[1:] == ["succeeded", "-", "-", "-", "-"]


def test_the_live_table_of_300_cells_stays_on_the_screen() -> None:
    stages = [stage("prep", "succeeded"), *cells(*["running"] * 8, *["waiting"] * 292)]
    lines = live_lines(run(*stages), NOW, {}, width=80, height=24, color=False)
    assert len(lines) < 24
    assert any(line.startswith("train: 292 cells") for line in lines)
    assert "not shown" not in lines[-1]


def test_why_tells_cells_in_one_state_once() -> None:
    told = [
        {"name": f"t.{n}", "base": "t", "label": f"t.{n}", "status": "waiting",
         "sentence": "waits for 1 GPU",
         "reason": {"sentence": "", "hosts": [{"host": "gpu1", "sentence": "full"}]}}
        for n in range(300)
    ]  # fmt: skip
    assert answer_lines(from_answer(WhyView, {"run_id": "r7", "stages": told}), single=False) == [
        "t.0: waits for 1 GPU",
        "  gpu1: full",
        "t: 299 more are waiting (see one: hostler why r7/t.299)",
    ]


def test_a_plan_folds_cells_that_go_the_same_way() -> None:
    rows = [["a", "gpu1", "0", "free"], *([f"t.{n}", "waits", "-", "full"] for n in range(9))]
    assert alike_folded(rows) == [rows[0], ["t: 9 cells", "waits", "-", "full"]]
    assert alike_folded(rows[:4]) == rows[:4]
