"""The report counts what is in the histories, broken promises too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import figures
from tests.chaos.figures import DAG, FUZZ, TARGETS, by_promise, note
from tests.chaos.history import (
    AttemptEnd,
    Call,
    Fault,
    Final,
    GrantSeen,
    History,
    Recorder,
    Sample,
)
from tests.chaos.report import NOT_MEASURED, figure_rows, main, rows, write_between

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


def test_waits_for_hosts_that_follow_no_kill_are_no_recoveries() -> None:
    begin = Call(2, 2.1, "recover", "ok")
    again = Call(80, 80.1, "recover", "ok")
    both = replace(HISTORY, calls=[begin, *HISTORY.calls, again])
    assert measured(both, "daemon restart") == "median 2.5 s, worst 2.5 s of 1"


def test_a_broken_promise_is_not_hidden() -> None:
    assert HISTORY.final is not None
    lost = replace(HISTORY, final=replace(HISTORY.final, runs={}))
    assert measured(lost, "acknowledged runs lost") == "1 of 1 runs in 1 kills"


def attempt(
    name: str, launched: float, finished: float, *, host: str = "gpu2", cause: str | None = None
) -> AttemptEnd:
    return AttemptEnd(
        f"r1-{name}-1", "r1", name, 1, "failed" if cause else "succeeded", host, 0,
        cause=cause, launched_at=launched, finished_at=finished,
    )  # fmt: skip


def test_stages_that_ran_at_the_begin_of_a_cut_are_counted_and_the_lost_ones_told() -> None:
    assert HISTORY.final is not None
    assert measured(HISTORY, "stages lost") == NOT_MEASURED
    attempts = (
        attempt("through", 90, 170),
        attempt("within", 99, 120),
        attempt("before", 80, 95),
        attempt("after", 161, 170),
        attempt("elsewhere", 90, 170, host="gpu1"),
        attempt("failed", 90, 130, cause="user error"),
    )
    kept = replace(HISTORY, final=replace(HISTORY.final, attempts=attempts))
    assert measured(kept, "stages lost") == "0 of 3, the longest cut 60 s"
    given_up = attempt("given-up", 90, 170, cause="host lost")
    lost = replace(HISTORY, final=replace(HISTORY.final, attempts=(*attempts, given_up)))
    assert measured(lost, "stages lost") == "1 of 4, the longest cut 60 s"


def test_figures_are_kept_where_they_are_wanted_and_the_last_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOSTLER_CHAOS_KEEP", raising=False)
    note(DAG, "nowhere", "make bench")
    monkeypatch.setenv("HOSTLER_CHAOS_KEEP", str(tmp_path))
    for promise, text, command in (
        (DAG, "9 s", "make bench"),
        (FUZZ, "0 of 10", "make fuzz: toml"),
        (FUZZ, "1 of 20", "make fuzz: names"),
        (DAG, "1.5 s", "make bench"),
    ):
        note(promise, text, command)
    told = by_promise(figures.read(tmp_path))
    assert told == {
        DAG: "1.5 s (`make bench`)",
        FUZZ: "0 of 10 (`make fuzz: toml`); 1 of 20 (`make fuzz: names`)",
    }
    with pytest.raises(AssertionError):
        note("a promise that no table has", "1", "make bench")


def test_what_nobody_measured_is_told_as_that() -> None:
    shown = {row.promise: row.measured for row in figure_rows({DAG: "1.5 s"})}
    assert shown.pop(DAG) == "1.5 s"
    assert set(shown) == set(TARGETS) - {DAG}
    assert set(shown.values()) == {NOT_MEASURED}


def test_it_writes_between_the_markers_only(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nbelow\n")
    recorder = Recorder(tmp_path / "h.jsonl")
    assert HISTORY.final is not None
    for entry in (*HISTORY.calls, HISTORY.final):
        recorder.add(entry)
    (tmp_path / figures.NAME).write_text(
        '{"promise": "' + DAG + '", "measured": "1.5 s | 92 MB", "command": "make bench"}\n'
    )
    assert main([str(tmp_path), str(page)]) == 0
    text = page.read_text()
    assert text.startswith("above\n")
    assert text.endswith("\nbelow\n")
    assert "old" not in text
    assert "| double grants under all faults |" in text
    assert text.startswith("above\n<!-- measured: begin -->\n| promise")
    assert f"| {DAG} | {TARGETS[DAG]} | 1.5 s / 92 MB (`make bench`) |" in text
    write_between(page, "new")
    assert "double" not in page.read_text()
