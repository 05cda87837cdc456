"""The line that tells what was saved of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hostler.base.dates import clock_text
from hostler.model.codec import from_answer
from hostler.model.views.kept import KeptView
from hostler.model.views.runs import RunView, StageView
from hostler.show.saved import saved_lines
from tests.support.values.run_objects import attempt


def stage(name: str, attempt_id: str) -> StageView:
    made = attempt("succeeded", attempt_id=attempt_id, stage=name)
    return StageView(name=name, attempt=made)


RUN = RunView(run_id="rxbvmwd", stages=(stage("run", "rxbvmwd-run-2"),))
FILES: dict[str, Any] = {
    "stage": "run", "attempt_id": "rxbvmwd-run-2", "kind": "files", "name": "files",
    "size": 9000, "files": 4, "partial": False, "present": True,
    "entries": [
        {"name": "model.pt", "size": 12_000_000, "files": 1},
        {"name": "runs/", "size": 30, "files": 3},
    ],
}  # fmt: skip
LEFT: dict[str, Any] = {
    "stage": "run", "attempt_id": "rxbvmwd-run-2", "host": "gpu1", "files": 3, "size": 5 * 1024**3,
    "names": ["huge.bin", "more.bin"], "goes_at": 1_780_000_000.0, "path": "/x", "why": "",
}  # fmt: skip


def lines(*artifacts: Any, left: Any = (), run: RunView = RUN) -> list[str]:
    told = {"run_id": "rxbvmwd", "artifacts": [*artifacts], "remainders": [*left]}
    return saved_lines(run, from_answer(KeptView, told))


def test_files_and_folders_of_a_command() -> None:
    assert lines(FILES) == ["saved: model.pt (11.4 MiB), runs/ (3 files); hostler get rxbvmwd"]


def test_nothing_is_said_where_nothing_was_saved() -> None:
    assert lines() == []
    assert lines({**FILES, "attempt_id": "rxbvmwd-run-1"}) == [], "of an earlier try"
    assert lines({**FILES, "present": False}) == [], "past its time"


def test_outputs_of_several_stages_are_told_by_name_with_their_stage() -> None:
    run = replace(RUN, stages=(*RUN.stages, stage("eval", "rxbvmwd-eval-1")))
    output = {**FILES, "kind": "output", "name": "model", "size": 2048, "files": 1, "entries": None}
    part = {**output, "stage": "eval", "attempt_id": "rxbvmwd-eval-1", "partial": True, "files": 2}
    assert lines(output, part, run=run) == [
        "saved: run: model (2 KiB), eval: model (2 files, partial); hostler get rxbvmwd"
    ]


def test_of_a_sweep_files_are_counted() -> None:
    cells = [f"run.{n}" for n in range(3)]
    run = replace(RUN, stages=tuple(stage(c, f"rxbvmwd-{c}-1") for c in cells))
    made = [{**FILES, "stage": c, "attempt_id": f"rxbvmwd-{c}-1", "size": 2**20} for c in cells]
    assert lines(*made, run=run) == ["saved: 12 files of 3 stages (3 MiB); hostler get rxbvmwd"]
    made[1]["partial"] = True
    assert lines(*made, run=run) == [
        "saved: 12 files of 3 stages (3 MiB, 1 stage partial); hostler get rxbvmwd"
    ]


def test_what_stays_on_a_host_is_told_with_host_and_date() -> None:
    day = clock_text(LEFT["goes_at"])[:10]
    assert lines(left=[LEFT]) == [
        f"on gpu1 until {day}: huge.bin, more.bin and 1 more (5 GiB); hostler get rxbvmwd"
    ]
    unknown = {**LEFT, "names": [], "files": 1}
    assert lines(left=[unknown]) == [f"on gpu1 until {day}: 1 file (5 GiB); hostler get rxbvmwd"]


def test_files_in_the_folder_itself_are_told_as_that() -> None:
    here = {**FILES, "kind": "here"}
    assert lines(here)[0].startswith("new in its folder: model.pt (11.4 MiB)")


def test_a_long_list_is_cut() -> None:
    many = [{"name": f"f{n}", "size": 1, "files": 1} for n in range(9)]
    (line,) = lines({**FILES, "entries": many})
    assert "f4 (1 B) and 4 more; hostler get" in line
