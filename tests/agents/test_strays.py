"""Who of a job is sent TERM, when processes come and go between two looks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostler_agent import strays
from hostler_agent.processes import Proc
from hostler_agent.strays import Process, Told

SHIM = 10
FIRST = Process(11, SHIM, 100)


def told(monkeypatch: pytest.MonkeyPatch, found: list[Process], at: int = 200) -> Told:
    """Everybody that the first look, at tick 200, finds was told then."""
    monkeypatch.setattr(strays, "now", lambda: at)
    all_told = Told(None, lambda _: False)
    assert all_told.due(found) == found
    for process in found:
        all_told.told(process, at)
    return all_told


def test_the_first_look_tells_all(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = [FIRST, Process(12, 11, 200), Process(13, 12, 200)]
    assert told(monkeypatch, tree).due(tree) == []


def test_who_was_forked_before_its_parent_was_told_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look did not see it: it came while that went on."""
    late = Process(12, 11, 199)
    kept = told(monkeypatch, [FIRST])
    assert kept.due([FIRST, late]) == [late]
    kept.told(late, 210)
    assert kept.due([FIRST, late, Process(13, 12, 211)]) == []


def test_what_such_a_one_started_untold_is_told_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    late = [Process(12, 11, 199), Process(13, 12, 205)]
    assert told(monkeypatch, [FIRST]).due([FIRST, *late]) == late


def test_what_is_started_to_end_is_left_alone_with_all_that_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = told(monkeypatch, [FIRST])
    saves = [Process(12, 11, 200), Process(13, 12, 205)]
    assert kept.due([FIRST, *saves]) == []
    assert kept.due([*saves, Process(14, 13, 300)]) == []


def test_an_orphan_is_judged_by_when_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = Process(12, SHIM, 199), Process(13, SHIM, 201)
    assert told(monkeypatch, [FIRST]).due([before, after]) == [before]


def test_a_number_that_is_used_again_is_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = told(monkeypatch, [FIRST])
    again = Process(FIRST.pid, SHIM, 150)
    assert kept.due([again]) == [again]


def test_who_could_not_be_told_is_tried_again_with_what_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(strays, "now", lambda: 200)
    kept = Told(None, lambda _: False)
    assert kept.due([FIRST]) == [FIRST]
    child = Process(12, 11, 300)
    assert kept.due([FIRST, child]) == [FIRST, child]


def test_in_a_stop_only_the_older_who_were_not_told_by_it_are() -> None:
    kept = Told(150, lambda pid: pid == 11)
    hidden, saves = Process(12, 11, 120), Process(13, 11, 160)
    assert kept.due([FIRST, hidden, saves, Process(14, 12, 170)]) == [hidden, Process(14, 12, 170)]
    assert kept.due([FIRST, saves]) == []


def test_parents_come_before_their_children(tmp_path: Path) -> None:
    rows = {11: ("S", 10, 5), 9: ("S", 11, 6), 8: ("R", 9, 7), 7: ("Z", 11, 8), 6: ("S", 1, 1)}
    for pid, (state, parent, ticks) in rows.items():
        (tmp_path / str(pid)).mkdir()
        fields = [state, str(parent), *["0"] * 17, str(ticks)]
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a b) {' '.join(fields)}\n")
    found = strays.descendants(Proc(str(tmp_path)), 10)
    assert found == [Process(11, 10, 5), Process(9, 11, 6), Process(8, 9, 7)]


def test_the_clock_is_that_of_the_processes() -> None:
    started = Proc().start_ticks(os.getpid())
    assert started is not None
    assert started <= strays.now() < started + 100 * 3600 * 24
    assert strays.now(3600.0) < strays.now() - 3599 * 100


def test_a_stop_began_when_its_file_was_written(tmp_path: Path) -> None:
    mark = tmp_path / "stopping"
    assert strays.stop_began(str(mark)) is None
    mark.touch()
    before = strays.now()
    os.utime(mark, (0, os.stat(mark).st_mtime + 86400))  # a clock that was set back since
    assert strays.stop_began(str(mark)) in range(before, strays.now() + 1)
