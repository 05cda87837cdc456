"""A daemon of an older version gives way to this one while stages run, and the other way round."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostler.store.database import Store
from hostler.store.metrics_migrations import METRICS
from hostler.store.migrations import STATE
from tests.support.machines.desk import Desk, desk_folder, stage, wait_until
from tests.upgrade.lives import GPUS, Work
from tests.upgrade.old import install

pytestmark = [pytest.mark.programs, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]
NEW = sys.executable
STEPS = """
from hostler.store.metrics import METRICS  # where any version has it
from hostler.store.migrations import STATE
print(*(step.__name__ for step in STATE.steps + METRICS.steps))
"""
CELLS = 42
"""Beside one stage on each GPU: fifty in all."""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of an environment with the old version."""
    return str(install(tmp_path_factory.mktemp("old")))


@pytest.fixture
def work() -> Iterator[Work]:
    with desk_folder() as folder:
        made = Work(folder)
        try:
            yield made
        finally:
            made.close()


def begin(desk: Desk, python: str) -> None:
    """Start a daemon of that version, which works on what is there."""
    desk.python = python
    desk.ok("daemon", "start")
    exe = Path(f"/proc/{desk.daemon_pid()}/cmdline").read_bytes().split(b"\0")[0]
    assert exe.decode() == python, "the daemon is not of the version that was meant"


def replace(desk: Desk, python: str) -> None:
    """Stop the daemon and start one of another version on the same state."""
    desk.ok("daemon", "stop")
    begin(desk, python)


def check_finished(work: Work, run: dict[str, Any], cells: int, code: int) -> None:
    """Every stage ran once, ended with its own code, and lost nothing."""
    for number in range(cells):
        name = f"a.{number}" if cells > 1 else "a"
        (attempt,) = stage(run, name)["attempts"]
        assert (attempt["exit_code"], attempt["host"]) == (code, "here"), attempt
        assert attempt["metrics"] == {"n": float(number)}
        lines = work.desk.output(run["run_id"], name).splitlines()
        begun, pid = lines[0].rsplit(" ", 1)
        assert [begun, *lines[1:]] == [f"begin {number}", f"end {number} {pid}"]
    assert work.starts(run["pipeline"]) == cells, "a stage was started twice"
    assert run["outcome"] == ("succeeded" if code == 0 else "failed")


def test_fifty_stages_go_on_under_the_new_version(work: Work, old: str) -> None:
    desk = work.desk
    begin(desk, old)
    plain, leased = work.gate("plain"), work.gate("leased")
    first = desk.submit(work.pipeline(plain, CELLS))
    second = desk.submit(work.pipeline(leased, GPUS, gpus=1, code=7))
    work.until_running(first, CELLS)
    work.until_running(second, GPUS)
    leases = work.held()
    assert len(leases) == GPUS

    replace(desk, NEW)
    work.until_running(first, CELLS)
    work.until_running(second, GPUS)
    assert work.held() == leases
    check_migrated(desk.state)

    check_finished(work, work.open_gate(plain, first), CELLS, 0)
    check_finished(work, work.open_gate(leased, second), GPUS, 7)
    wait_until(lambda: work.held() == [], "the leases are given back")
    wait_until(lambda: not list((work.base / "jobs").iterdir()), "the job folders are removed")
    files = desk.ok("get", first, "--list", "--json").json["files"]
    assert len(files) == CELLS
    kinds = {event["kind"] for event in events(desk)}
    assert not {"attempt.lost", "workload.unknown", "attempt.log_lost"} & kinds


def events(desk: Desk) -> list[dict[str, Any]]:
    return [json.loads(line) for line in desk.ok("events", "--json").out.splitlines()]


def check_migrated(state: Path) -> None:
    for schema, name in ((STATE, "hostler.db"), (METRICS, "metrics.db")):
        connection = sqlite3.connect(state / name)
        done = [row[0] for row in connection.execute("select name from _sqlite_migrations")]
        connection.close()
        assert done == [step.__name__ for step in schema.steps]


def lose_database(desk: Desk) -> None:
    desk.ok("daemon", "stop")
    for path in desk.state.glob("*.db*"):
        path.unlink()


def test_the_new_version_reads_notes_on_the_host_and_the_backup_of_the_old(
    work: Work, old: str
) -> None:
    desk, gate, file = work.desk, work.gate("noted"), work.desk.home / "backup"
    begin(desk, old)
    run_id = desk.submit(work.pipeline(gate, 2, gpus=1, code=7))
    work.until_running(run_id, 2)
    desk.ok("daemon", "backup", str(file))
    lose_database(desk)
    desk.python = NEW
    assert "recovered 1 run" in desk.ok("daemon", "recover", "--yes").err
    work.until_running(run_id, 2)
    check_finished(work, work.open_gate(gate, run_id), 2, 7)
    wait_until(lambda: work.held() == [], "the leases are given back")

    desk.ok("daemon", "stop")
    desk.state = desk.home / "restored"
    desk.ok("daemon", "restore", str(file))
    begin(desk, NEW)
    # The backup is of when the stages ran: that they have ended since, the host tells.
    assert desk.ended(run_id)["outcome"] == "failed"
    assert work.starts("gate-noted") == 2, "a stage was started again"


def test_the_old_version_goes_on_with_the_database_and_the_notes_of_the_new(
    work: Work, old: str
) -> None:
    desk, gate = work.desk, work.gate("back")
    begin(desk, NEW)
    run_id = desk.submit(work.pipeline(gate, 2, gpus=1))
    work.until_running(run_id, 2)
    desk.ok("daemon", "stop")
    if steps(NEW) != steps(old):
        refused = start_refused(desk, old)
        assert "was written by a newer Hostler" in refused, refused
        begin(desk, NEW)
    else:
        begin(desk, old)
        work.until_running(run_id, 2)
        lose_database(desk)
        assert "recovered 1 run" in desk.ok("daemon", "recover", "--yes").err
        work.until_running(run_id, 2)
    check_finished(work, work.open_gate(gate, run_id), 2, 0)


def steps(python: str) -> str:
    """The migrations that a version knows."""
    done = subprocess.run([python, "-P", "-c", STEPS], capture_output=True, text=True, check=True)
    return done.stdout


def start_refused(desk: Desk, python: str) -> str:
    """What a version says that does not start."""
    desk.python = python
    said = desk.hostler("daemon", "start")
    assert (said.code, said.out) == (5, ""), said
    return said.err


async def test_the_old_version_refuses_a_database_with_a_newer_step(work: Work, old: str) -> None:
    state = work.desk.state
    state.mkdir(mode=0o700)
    await (await Store.open(state)).close()
    database = state / "hostler.db"
    connection = sqlite3.connect(database, isolation_level=None)
    values = "'hostler', 'm9999_of_tomorrow', '2027-01-01'"
    connection.execute(
        f"insert into _sqlite_migrations (migration_set, name, applied_at) values ({values})"
    )
    connection.close()
    before = database.read_bytes()
    said = start_refused(work.desk, old)
    assert "was written by a newer Hostler (it has m9999_of_tomorrow); nothing was changed" in said
    assert "nstall that version again; backups of older ones lie in" in said
    assert database.read_bytes() == before
