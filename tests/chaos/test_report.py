"""The report counts what is in the histories, broken promises too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.chaos.history import Call, Fault, Final, GrantSeen, History, Recorder, Sample
from tests.chaos.report import main, rows, write_between

HISTORY = History(
    calls=[Call(0, 1, "submit", "ok", "r1"), Call(70, 72.5, "recover", "ok")],
    faults=[Fault(100, 160, "cut", "gpu2"), Fault(60, 61, "kill daemon at after_start")],
    grants=[GrantSeen(5, "gpu1", "c1", "r1-a-1", ("GPU-1",))],
    samples=[
        Sample(105, {"gpu2": "up"}, {}),
        Sample(108, {"gpu2": "unreachable"}, {}),
        Sample(164, {"gpu2": "up"}, {}),
    ],
    final=Final(3600, {"r1": "succeeded"}, (), ()),
)


def measured(history: History, promise: str) -> str:
    return next(row.measured for row in rows([history]) if row.promise.startswith(promise))


def test_it_says_what_was_measured() -> None:
    assert measured(HISTORY, "double grants") == "0 in 1 placements and 1.00 h"
    assert measured(HISTORY, "acknowledged runs lost") == "0 of 1 runs in 1 kills"
    assert measured(HISTORY, "daemon restart") == "median 2.5 s, worst 2.5 s of 1"
    assert measured(HISTORY, "silent host") == "median 8.0 s, worst 8.0 s of 1"
    assert measured(HISTORY, "healed host") == "median 4.0 s, worst 4.0 s of 1"


def test_a_broken_promise_is_not_hidden() -> None:
    assert HISTORY.final is not None
    lost = replace(HISTORY, final=replace(HISTORY.final, runs={}))
    assert measured(lost, "acknowledged runs lost") == "1 of 1 runs in 1 kills"


def test_it_writes_between_the_markers_only(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nbelow\n")
    recorder = Recorder(tmp_path / "h.jsonl")
    assert HISTORY.final is not None
    for entry in (*HISTORY.calls, HISTORY.final):
        recorder.add(entry)
    assert main([str(tmp_path), str(page)]) == 0
    text = page.read_text()
    assert text.startswith("above\n")
    assert text.endswith("\nbelow\n")
    assert "old" not in text
    assert "| double grants under all faults |" in text
    write_between(page, "new")
    assert "double" not in page.read_text()
