from __future__ import annotations

from typing import Any

import pytest

from hostler.base.dates import exact_time
from hostler.cli.live import chosen, count_line, live_lines, redraw
from hostler.model.codec import from_answer
from hostler.model.plans import PreviewLine
from hostler.model.views.runs import ProgressView, StageView
from hostler.show.plan import plan_row
from hostler.show.progress import (
    attempt_end,
    command_code,
    end_code,
    end_lines,
    end_text,
    phase_text,
    progress_text,
    ranges,
    stage_note,
    transitions,
    where,
)
from hostler.show.runs import ps_rows, stage_row, stage_time, summary_row
from tests.support.values.run_objects import NOW, attempt, run, stage, summary

INDICES = {"GPU-gpu1-0": 0, "GPU-gpu1-1": 1}


def test_ranges_are_folded() -> None:
    assert ranges([0, 1, 2, 3, 6]) == "0-3,6"
    assert ranges([5]) == "5"


def test_where_an_attempt_is() -> None:
    assert where(attempt(), INDICES) == "gpu1:0-1"
    assert where(attempt(), {}) == "gpu1:2 GPUs"
    assert where(attempt(gpus=[]), {}) == "gpu1"
    assert where(attempt("collecting"), INDICES) == "gpu1", "its GPUs were given back"
    assert where(None, {}) == "-"


@pytest.mark.parametrize(
    ("given", "note", "time"),
    [
        (stage(), "-", "3m12s"),
        (stage(reason={"sentence": "waits for gpu1", "hosts": []}), "waits for gpu1", "3m12s"),
        (stage(status="running"), "-", "1m30s"),
        (stage(status="running", attempt=attempt(metrics={"loss": 0.31})), "loss 0.31", "1m30s"),
        (stage(status="succeeded", attempt=attempt("succeeded", duration=41.26,
                                                   metrics={"loss": 0.31})), "loss 0.31", "41s"),
        (stage(status="failed", attempt=None, note="its `when` cannot be evaluated"),
         "its `when` cannot be evaluated", "-"),
        (stage(status="starting", progress={"what": "pulling x", "done": 5, "total": 10}),
         "pulling x 50% of 10 B", "1m30s"),
        (stage(status="succeeded", attempt=attempt("succeeded", duration=41.26)), "-", "41s"),
        (stage(status="failed", attempt=attempt("failed", cause="user error", exit_code=2,
                                                finished_at=NOW - 30, detail="no file")),
         "user error, exit code 2: no file", "1m"),
        (stage(status="running", attempt=attempt(), trouble="gpu1 cannot be seen"),
         "gpu1 cannot be seen", "1m30s"),
        (stage(status="succeeded", kept=True), "kept from r7", "1m30s"),
        (stage(status="skipped"), "-", "-"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_stage(given: StageView, note: str, time: str) -> None:
    assert stage_note(given) == note
    assert stage_time(given, run(given), NOW) == time


def test_how_attempts_end() -> None:
    assert attempt_end(attempt("failed", cause="OOM (GPU)")) == "OOM (GPU)"
    assert attempt_end(attempt("failed", cause="time limit", signal=9)) == "time limit, signal 9"
    assert attempt_end(attempt()) == ""


def test_progress_without_a_total() -> None:
    assert progress_text(ProgressView(what="pulling", done=2048)) == "pulling 2 KiB"
    assert progress_text(ProgressView(what="packing")) == "packing"


def test_rows_of_ps_put_what_runs_first_and_cap_what_waits() -> None:
    stages = [stage(f"s.{n}") for n in range(5)] + [stage("r", "running"), stage("d", "succeeded")]
    rows = ps_rows(run(*stages), NOW, INDICES, 3)
    assert [row[2] for row in rows] == ["r", "s: 5 cells"]
    assert rows[0][5] == "gpu1:0-1"
    assert rows[1][4:6] == ["waiting", "2 GPUs"]
    assert len(ps_rows(run(*stages), NOW, INDICES)) == 6


@pytest.mark.parametrize(
    ("silent", "note"), [(0, "-"), (1, "1 of them: gpu1 is silent"), (4, "gpu1 is silent")]
)
def test_cells_that_share_a_row_say_what_stands_in_their_way(silent: int, note: str) -> None:
    cells = [
        stage(name=f"train.{i}", base="train", status="running", attempt=attempt(),
              trouble="gpu1 is silent" if i < silent else None)
        for i in range(4)
    ]  # fmt: skip
    (row,) = ps_rows(run(*cells), NOW, INDICES, 1)
    assert row[-1] == note


def test_cells_that_share_a_row_say_what_their_starts_are_busy_with() -> None:
    doing = {"what": "preparing its environment (setup)", "done": 0, "total": None}
    cells = [
        stage(name=f"train.{i}", base="train", status="starting", progress=doing if i else None)
        for i in range(4)
    ]
    (row,) = ps_rows(run(*cells), NOW, INDICES, 1)
    assert row[-1] == "3 of them: preparing its environment (setup)"


def test_an_attempt_that_goes_on_from_its_checkpoint_is_not_called_failed() -> None:
    said: dict[str, Any] = {
        "cause": "requeued",
        "detail": "ran longer than 2h; resumes from its checkpoint",
    }
    ended = attempt("failed", **said)
    assert (phase_text(ended), end_text(ended)) == ("requeued", said["detail"])
    copied = attempt("collecting", **said)
    assert (phase_text(copied), end_text(copied)) == ("collecting", f"requeued: {said['detail']}")
    broken = attempt("failed", cause="user error", exit_code=2)
    assert (phase_text(broken), end_text(broken)) == ("failed", "user error, exit code 2")


def test_summaries() -> None:
    row = summary_row(summary(), NOW, piped=True)
    assert row[:6] == ["r7", "digits", "ana", "running", "1/3", "3m12s"]
    assert row[6] == exact_time(NOW - 192)
    assert row[6][-3] == ":"
    assert row[7] == "-"


@pytest.mark.parametrize(
    ("outcome", "status", "cause", "code"),
    [
        ("succeeded", "succeeded", None, 0),
        ("failed", "failed", "user error", 6),
        ("failed", "failed", "OOM (GPU)", 6),
        ("failed", "failed", "host lost", 7),
        ("cancelled", "cancelled", "stopped", 7),
    ],
)
def test_exit_codes_of_runs(outcome: str, status: str, cause: str | None, code: int) -> None:
    ended = run(stage(status=status, attempt=attempt(cause=cause)), outcome=outcome)
    assert end_code(ended) == code


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (attempt("failed", cause="user error", exit_code=42), 42),
        (attempt("failed", cause="user error", exit_code=137, signal=9), 137),
        (attempt("failed", cause="time limit", exit_code=143), 6),
        (attempt("failed", cause="host lost"), 7),
        (attempt("failed", cause="user error", exit_code=None), 6),
    ],
)
def test_a_command_gives_its_own_exit_code(given: dict[str, Any], code: int) -> None:
    ended = run(stage(status="failed", attempt=given), outcome="failed")
    assert command_code(ended) == code


def test_the_end_is_told_with_what_failed() -> None:
    failed = stage(status="failed", attempt=attempt("failed", cause="user error", exit_code=1))
    ended = run(stage("ok", "succeeded"), failed, outcome="failed")
    assert end_lines(ended) == ["r7 failed after 3m12s", "train on gpu1: user error, exit code 1"]
    assert end_lines(run(outcome="cancelled", cancelled_by="bo")) == [
        "r7 cancelled by bo after 3m12s"
    ]


def test_only_changes_become_lines() -> None:
    before = run(stage("a", "running"), stage("b"))
    after = run(stage("a", "succeeded", attempt=attempt("succeeded", duration=3.0)), stage("b"))
    assert transitions(before, after, INDICES) == ["a: succeeded on gpu1:0-1 after 3s"]
    assert transitions(after, after, INDICES) == []
    assert transitions(None, before, INDICES) == ["a: running on gpu1:0-1"]
    again = run(stage("a", "running", attempt=attempt(number=2)), stage("b"))
    assert transitions(before, again, INDICES) == ["a: running on gpu1:0-1"]


def test_the_live_picture_fits() -> None:
    stages = [stage(f"t.{n}", "succeeded") for n in range(50)]
    stages += [stage("now", "running"), stage("bad", "failed")]
    lines = live_lines(run(*stages), NOW, INDICES, width=60, height=12, color=False)
    assert len(lines) < 12
    assert lines[0] == "r7 digits: running, 3m12s"
    assert lines[-1] == "50 of 52 succeeded, 1 failed, 1 running"
    assert any(line.startswith("t: 50 cells  succeeded") for line in lines)
    assert any(line.startswith("now ") for line in lines)
    assert any(line.startswith("bad ") for line in lines)
    assert all(len(line) <= 60 for line in lines)


def test_hostile_names_stay_on_their_line() -> None:
    evil = stage("a\x1b[2J\nb", "running", label="x\x1b]52;c;eA==\x07\r\ny")
    lines = live_lines(run(evil), NOW, {}, width=80, height=24, color=False)
    assert len(lines) == 4
    assert "\x1b" not in "".join(lines)


def test_chosen_rows_keep_their_order() -> None:
    stages = [stage("a", "succeeded"), stage("b"), stage("c", "running")]
    assert chosen(stages, 2) == stages[1:]
    assert chosen(stages, 3) == stages


def test_a_picture_with_too_many_kinds_of_stages_says_how_many_are_missing() -> None:
    stages = [stage(f"s{n}", "succeeded") for n in range(40)]
    lines = live_lines(run(*stages), NOW, {}, width=60, height=12, color=False)
    assert len(lines) < 12
    assert lines[-1] == "40 of 40 succeeded; 32 not shown"


def test_counting() -> None:
    counted = count_line(run(stage("a"), stage("b", "succeeded")))
    assert counted == "1 of 2 succeeded, 1 waiting"


def test_redrawing_goes_up_over_the_last_picture() -> None:
    assert redraw(0, ["a"]) == "\ra\x1b[K\n\x1b[J"
    assert redraw(3, ["a"]).startswith("\x1b[3A\ra")


def test_plans() -> None:
    placed = {"stage": "a", "label": "a", "host": "gpu1", "gpus": [0, 1], "why": "fits best"}
    assert plan_row(from_answer(PreviewLine, placed)) == ["a", "gpu1", "0,1", "fits best"]
    waits: dict[str, Any] = {
        "stage": "a",
        "host": None,
        "gpus": [],
        "why": "",
        "reason": {"sentence": "full"},
    }
    assert plan_row(from_answer(PreviewLine, waits)) == ["a", "waits", "-", "full"]


def test_a_row_of_show() -> None:
    row = stage_row(stage(status="running"), run(), NOW, INDICES)
    assert row == ["train", "running", "1", "1m30s", "gpu1:0-1", "-"]
