"""What is kept of the fleet for the first picture: each daemon's by itself, a demo's with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.model.views.gpus import FleetView
from hostler_tui import cache
from hostler_tui.app import _after_quit
from hostler_tui.lab import NOTHING

FLEET: FleetView = {**NOTHING, "at": 12.5}


def test_each_daemon_has_its_own(tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    mine, theirs = (cache.path(f"/run/{name}.sock", env) for name in ("mine", "theirs"))
    cache.save(FLEET, mine)
    assert cache.load(mine) == (FLEET, 12.5)
    assert cache.load(theirs) == (None, None)
    assert mine.parent == tmp_path / "hostler"


def test_a_demos_lies_in_the_folder_that_goes_with_it(tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": "/never", "HOSTLER_STATE": str(tmp_path)}
    assert cache.path("/run/demo.sock", env).parent == tmp_path


@pytest.mark.parametrize("text", ["", "{", "[]", '{"fleet": 3}', '{"fleet": {"schema": "x"}}'])
def test_what_cannot_be_read_costs_only_the_moment(tmp_path: Path, text: str) -> None:
    file = tmp_path / "seen.json"
    file.write_text(text)
    assert cache.load(file) == (None, None)


def test_a_disk_that_refuses_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache.save(FLEET, tmp_path / "file" / "below.json")


def test_leaving_says_what_becomes_of_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOSTLER_DEMO", raising=False)
    assert _after_quit(1) == "1 run continues without this window"
    monkeypatch.setenv("HOSTLER_DEMO", "1")
    assert _after_quit(2) == "2 simulated runs end with this demo"
