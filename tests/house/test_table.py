"""What `make house` prints, and what it notes of a command that runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import CodeType

import pytest

from tests.house import __main__ as house
from tests.house import watched
from tests.house.ceilings import FILE, read_ceilings
from tests.house.measures import MEASURES
from tests.house.source import read_module
from tests.house.walk import Walk


def test_a_line_says_now_ceiling_and_wanted() -> None:
    rows = house.rows([read_module("core/hostler/daemon/a.py", 'a == "docker"')], {"runtime": 3})
    line = next(line for line in house.table(rows) if line.startswith("places that ask"))
    assert line.split()[-4:] == ["1", "3*", "0", "runtime"]
    assert json.loads(house.as_json(rows))["runtime"] == {"now": 1, "ceiling": 3, "wanted": 0}


def test_every_measure_has_a_number_on_a_tree_without_functions() -> None:
    rows = house.rows([read_module("core/hostler/a.py", "")], read_ceilings(FILE.read_text()))
    assert [row.name for row in rows if row.now] == ["files"]
    assert len(list(house.table(rows))) == len(MEASURES) + 1


def test_the_files_of_client_and_daemon_are_counted_once() -> None:
    done = Walk(frozenset({"a", "b"}), frozenset({"b", "c", "d"}), frozenset({"d"}))
    assert [row.now for row in house.walk_rows(done)] == [4, 2, 3, 1]


def test_an_old_python_follows_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 11, 9))
    (row,) = house.walk_rows(house.follow(sys.executable, 0))
    assert (row.now, row.note) == (None, "left out: needs Python 3.12")


def _code(path: Path, text: str) -> CodeType:
    return compile(text, str(path), "exec")


def _function(path: Path) -> CodeType:
    code = _code(path, "def f(): pass")
    return next(each for each in code.co_consts if isinstance(each, CodeType))


class Monitoring:
    """What `sys.monitoring` has that is asked for."""

    DISABLE = object()

    def __init__(self) -> None:
        self.restarts = 0

    def restart_events(self) -> None:
        self.restarts += 1


def test_lines_of_functions_of_the_product_are_noted_by_phase(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monitoring = Monitoring()
    monkeypatch.setattr(watched, "_monitoring", monitoring)
    notes = watched.Notes(tmp_path)
    first, second = tmp_path / "core/a.py", tmp_path / "tui/b.py"
    assert notes.line(_function(first), 1) is Monitoring.DISABLE
    notes.line(_code(tmp_path / "core/imported.py", "x = 1"), 1)
    notes.line(_function(tmp_path / "tests/c.py"), 1)
    notes.line(_function(tmp_path.parent / "core/elsewhere.py"), 1)
    notes.begin("run")
    notes.line(_function(second), 1)
    assert (notes.files("all"), notes.files("run")) == (["core/a.py"], ["tui/b.py"])
    assert monitoring.restarts == 1  # or what ran in the first phase would not be told of again
