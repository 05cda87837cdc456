"""How the screen shows attempts that go on from their checkpoint: not as failed."""

from __future__ import annotations

from hostler_tui.run.pages import attempt_text
from hostler_tui.run.rows import stage_rows
from tests.support.values.run_objects import NOW, attempt, run, stage

REQUEUED = attempt("failed", cause="requeued", detail="ran longer than 2h; goes on")


def test_a_line_about_it_says_requeued() -> None:
    said = "try 1: requeued on gpu1:2 GPUs (ran longer than 2h; goes on)"
    assert attempt_text(REQUEUED, {}) == said


def test_its_row_below_its_stage_says_requeued() -> None:
    shown = stage(status="running", attempts=[REQUEUED, attempt(number=2)])
    _, row = stage_rows(run(shown), NOW, {})
    assert row.row.cells[1] == ("requeued", "requeued")
    assert row.row.cells[-1] == "ran longer than 2h; goes on"
