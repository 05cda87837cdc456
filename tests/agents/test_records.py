"""What a host keeps of runs, for a daemon that lost its database."""

from __future__ import annotations

import json
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import records as records_module
from hostler_agent.folders import Folders, Refusal
from hostler_agent.records import PAGE, Records

DAEMON = "d" * 32


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(Folders(str(tmp_path)))


def keep(records: Records, run_id: str, **more: Any) -> Any:
    return records.keep({"daemon_id": DAEMON, "run_id": run_id, **more})


def read(records: Records, run_id: str, offset: int = 0) -> Any:
    return records.read({"daemon_id": DAEMON, "run_id": run_id, "offset": offset})


def test_a_specification_and_its_lines_come_back_until_they_are_forgotten(
    records: Records, tmp_path: Path
) -> None:
    assert keep(records, "r1", line="early") == {"spec": False}
    assert keep(records, "r1", spec="text", line="one") == {"spec": True}
    assert keep(records, "r1", line="two") == {"spec": True}
    assert records.list({"daemon_id": DAEMON}) == {"runs": ["r1"], "others": []}
    assert records.list({"daemon_id": "e" * 32}) == {"runs": [], "others": [DAEMON]}
    assert read(records, "r1") == {"spec": "text", "lines": "one\ntwo\n", "next": 8}
    assert read(records, "r1", 8) == {"spec": None, "lines": "", "next": 8}
    assert keep(records, "r1", lines=["three", "four"]) == {"spec": True}
    assert read(records, "r1") == {"spec": "text", "lines": "three\nfour\n", "next": 11}
    assert keep(records, "r9", lines=["early"]) == {"spec": False}
    folder = tmp_path / "runs" / DAEMON
    assert {stat.S_IMODE(f.stat().st_mode) for f in folder.iterdir()} == {0o600}
    assert records.forget(DAEMON, ["r1", "r2"]) == {"removed": 1}
    assert not list(folder.iterdir())


def test_stages_of_one_run_that_start_at_once_keep_it_whole(records: Records) -> None:
    spec = "x" * 200_000

    def keep_it(_: int) -> Any:
        return keep(records, "r1", spec=spec)

    with ThreadPoolExecutor(8) as requests:  # as the agent serves them: a thread each
        assert list(requests.map(keep_it, range(200))) == [{"spec": True}] * 200
    assert read(records, "r1")["spec"] == spec


def test_lines_come_in_pages_and_a_half_written_one_not_at_all(
    records: Records, tmp_path: Path
) -> None:
    line = json.dumps({"x": "y" * 1000})
    count = PAGE // len(line) + 10
    keep(records, "r1", spec="text")
    for _ in range(count):
        keep(records, "r1", line=line)
    with (tmp_path / "runs" / DAEMON / "r1.attempts").open("a") as file:
        file.write('{"half')
    found, page = "", read(records, "r1")
    while page["lines"]:
        found += page["lines"]
        page = read(records, "r1", page["next"])
    assert found == (line + "\n") * count


@pytest.mark.parametrize(
    "payload",
    [
        {"daemon_id": "../x", "run_id": "r1", "line": "a"},
        {"daemon_id": DAEMON, "run_id": "../../r1", "line": "a"},
        {"daemon_id": DAEMON, "run_id": "r1", "line": "a\nb"},
        {"daemon_id": DAEMON, "run_id": "r1", "lines": ["a", "b\nc"]},
        {"daemon_id": DAEMON, "run_id": "r1", "lines": ["a", 7]},
        {"daemon_id": DAEMON, "run_id": "r1", "lines": []},
        {"daemon_id": DAEMON, "run_id": "r1", "lines": "ab"},
        {"daemon_id": DAEMON, "run_id": "r1", "lines": ["x" * (4 * 1024 * 1024)] * 2},
        {"daemon_id": DAEMON, "run_id": "r1", "spec": "\u00fc"},
        {"daemon_id": DAEMON, "run_id": "r1", "spec": "x" * (6 * 1024 * 1024 + 1)},
    ],
)
def test_what_could_leave_the_folder_or_break_a_line_is_refused(
    records: Records, tmp_path: Path, payload: Any
) -> None:
    with pytest.raises(Refusal):
        records.keep(payload)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_line_does_not_come_back_behind_the_removal_of_its_run(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, removals = records_module._append, list[threading.Thread]()

    def slow_append(path: str, line: bytes) -> None:
        removals.append(threading.Thread(target=records.forget, args=(DAEMON, ["r1"])))
        removals[0].start()
        removals[0].join(0.2)  # as long as the line is being written, it waits
        append(path, line)

    keep(records, "r1", spec="x")
    monkeypatch.setattr(records_module, "_append", slow_append)
    keep(records, "r1", line="{}")
    removals[0].join(60)
    assert [path for path in Path(records._base).rglob("*") if path.is_file()] == []


def ends(records: Records, offset: int = 0) -> Any:
    return records.ended({"daemon_id": DAEMON, "offset": offset})


def test_how_runs_ended_stays_when_they_are_forgotten(records: Records) -> None:
    assert ends(records) == {"lines": "", "next": 0}
    keep(records, "r1", spec="x")
    assert records.forget(DAEMON, ["r1"], ["one", "two"]) == {"removed": 1}
    records.forget(DAEMON, ["r2"], ["three"])
    assert ends(records) == {"lines": "one\ntwo\nthree\n", "next": 14}
    assert ends(records, 8) == {"lines": "three\n", "next": 14}
    assert records.list({"daemon_id": "e" * 32}) == {"runs": [], "others": []}
    with pytest.raises(Refusal):
        records.forget(DAEMON, ["r3"], ["a\nb"])


def test_of_very_many_ends_the_newest_stay(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_module, "MOST_ENDED", 1000)
    for number in range(300):
        records.forget(DAEMON, [], [f"end {number:04}"])
    found = ends(records)["lines"].split("\n")[:-1]
    assert 50 <= len(found) <= 112
    assert found == [f"end {number:04}" for number in range(300 - len(found), 300)]
