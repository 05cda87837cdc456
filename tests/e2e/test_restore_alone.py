"""Yesterday's backup, restored beside work that goes on: the real commands and the real agent."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machines.desk import Desk, desk_folder, stage, wait_until

WAITS = """
name = "t"
[defaults]
shell = true
[stages.a]
command = "while [ ! -e {flag} ]; do sleep 0.1; done; echo begun once >> {flag}"
[stages.b]
command = "cat {flag}"
needs = ["a"]
"""


@pytest.fixture
def other() -> Iterator[Desk]:
    """Where the daemon is restored: another folder, the same machine as its host."""
    with desk_folder() as folder:
        person = Desk(folder)
        yield person
        person.close()


def pipeline(flag: Path) -> str:
    return WAITS.format(flag=flag)


def test_a_restored_daemon_goes_on_and_the_old_one_is_refused(
    alone: Desk, other: Desk, tmp_path: Path
) -> None:
    older, newer, file = tmp_path / "older", tmp_path / "newer", tmp_path / "file"
    known = alone.submit(pipeline(older))
    alone.until(known, lambda r: stage(r, "a")["status"] == "running")
    alone.ok("daemon", "backup", str(file))
    later = alone.submit(pipeline(newer))
    alone.until(later, lambda r: stage(r, "a")["status"] == "running")

    shutil.copy(alone.config, other.config)
    other.ok("daemon", "restore", str(file))
    shutil.copytree(alone.state / "content", other.state / "content", dirs_exist_ok=True)
    other.start_daemon()
    about = other.ok("daemon", "status", "--json").json["daemon"]
    assert about["daemon_id"] == alone.ok("daemon", "status", "--json").json["daemon"]["daemon_id"]
    assert about["generation"]["restored_at"] is not None
    wait_until(
        lambda: bool(alone.ok("daemon", "status", "--json").json["daemon"]["generation"]["halted"]),
        "the old daemon is told that it is followed",
    )
    refused = alone.hostler("run", "-d", "--", "true")
    assert refused.code == 2
    assert "a newer generation of this daemon is running" in refused.err
    assert "hostler daemon stop" in refused.err
    assert "no longer starts or stops anything" in alone.ok("daemon", "status").out

    wait_until(lambda: other.standing()["unmerged"] == [], "its host is merged")
    other.until(later, lambda r: stage(r, "a")["status"] == "running")
    for flag in (older, newer):
        flag.write_text("")
    for run_id, flag in ((known, older), (later, newer)):
        run = other.ended(run_id)
        assert run["outcome"] == "succeeded", other.log()
        assert [len(s["attempts"]) for s in run["stages"]] == [1, 1]
        assert flag.read_text() == "begun once\n"
        assert other.ok("logs", run_id, "--stage", "b", "--raw").out == "begun once\n"
    assert alone.show(known)["outcome"] is None
    # What has ended since is not begun again from a backup of before.
    other.ok("daemon", "stop")
    alone.ok("daemon", "stop")
    shutil.rmtree(other.state)
    other.ok("daemon", "restore", str(file))
    other.start_daemon()
    wait_until(lambda: other.show(known)["outcome"] == "succeeded", "its end is found")
    assert older.read_text() == "begun once\n"
