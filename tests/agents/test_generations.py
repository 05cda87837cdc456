"""A daemon that was restored from a backup, and the older one that may still run somewhere."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from hostler_agent.folders import Folders, Refusal
from hostler_agent.generations import CHANGING, Generations, Superseded
from tests.support.programs.agents import AgentSaysNo, Place, serving

FIRST: Any = {"number": 1, "mark": "aa"}
SECOND: Any = {"number": 1_764_000_000_000, "mark": "bb"}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(str(tmp_path))


def test_the_newest_generation_is_written_down_and_the_older_refused(
    folders: Folders, tmp_path: Path
) -> None:
    Generations(folders, "d1", SECOND).take()
    (written,) = (tmp_path / "runs").iterdir()
    assert json.loads(written.read_text()) == SECOND
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    Generations(folders, "d1", SECOND).take()
    Generations(folders, "d2", FIRST).take()  # another daemon's business
    for older in (Generations(folders, "d1", FIRST).admit, Generations(folders, "d1", FIRST).take):
        with pytest.raises(Superseded) as told:
            older()
        assert told.value.to_wire()["generation"] == SECOND["number"]
        assert told.value.to_wire()["mark"] == "bb"
    assert json.loads(written.read_text()) == SECOND


def test_who_only_asks_may_serve_but_change_nothing(folders: Folders) -> None:
    Generations(folders, "d1", SECOND).take()
    asking = Generations(folders, "d1", None)
    asking.admit()
    asking.take()
    with pytest.raises(Superseded):
        asking.check()


def test_of_a_daemon_that_was_never_restored_nothing_is_written(
    folders: Folders, tmp_path: Path
) -> None:
    Generations(folders, "d1", FIRST).take()
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize(
    "told", [7, {}, {"number": True, "mark": ""}, {"number": 0, "mark": ""},
             {"number": 2**60, "mark": ""}, {"number": 2, "mark": "../x"}, {"number": 2}],
)  # fmt: skip
def test_what_is_no_generation_is_refused(folders: Folders, told: Any) -> None:
    with pytest.raises(Refusal):
        Generations(folders, "d1", told)
    with pytest.raises(Refusal):
        Generations(folders, "../d1", SECOND)


def test_a_file_that_cannot_be_read_lets_nobody_in(folders: Folders, tmp_path: Path) -> None:
    Generations(folders, "d1", SECOND).take()
    (tmp_path / "runs" / "d1.generation").write_text("{")
    with pytest.raises(Refusal, match=r"d1\.generation there cannot be read"):
        Generations(folders, "d1", SECOND).admit()


def test_an_older_daemon_does_not_even_end_the_agent_of_the_newer(place: Place) -> None:
    with serving(place, generation=SECOND) as newer:
        assert "hello" in newer.first
        with serving(place, generation=FIRST) as older:
            assert older.first["error"]["kind"] == "Superseded"
            assert older.first["error"]["generation"] == SECOND["number"]
            assert older.first["error"]["mark"] == "bb"
        assert newer.ask("ping") == {}
    with serving(place, daemon="d2", generation=FIRST) as other:
        assert "hello" in other.first


def test_an_agent_of_before_changes_nothing_any_more(place: Place) -> None:
    """One that could not be ended, because its host hung."""
    with serving(place, generation=FIRST) as older:
        older.job("r1-a-1", ["sleep", "30"])
        Generations(Folders(str(place.base)), "d1", SECOND).take()
        for verb in sorted(CHANGING):
            with pytest.raises(AgentSaysNo) as told:
                older.ask(verb, attempt_id="r1-a-1")
            assert told.value.kind == "Superseded", verb
        assert older.ask("job.inspect", attempt_id="r1-a-1")["workload"]["running"]
        assert "gpus" in older.look()
    with serving(place, generation=SECOND) as newer:
        newer.ask("job.stop", attempt_id="r1-a-1", grace=5)
