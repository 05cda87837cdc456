"""Yesterday's backup, restored beside running work on several hosts, one of them silent."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, desk_folder, stage, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(500)]

PIPELINE = f"""
name = "t"
[defaults]
image = "{BUSYBOX}"
shell = true
[stages.a]
command = "echo a begins; until [ -e /tmp/go ]; do sleep 0.2; done; mkdir out; echo a > out/x"
outputs = {{ o = "out" }}
resources = {{ gpus = 1, host = "HOST_A" }}
[stages.b]
command = "cat inputs/i/x; until [ -e /tmp/go ]; do sleep 0.2; done; echo b ends"
inputs = {{ i = "a.o" }}
resources = {{ gpus = 1, host = "HOST_B" }}
"""


@pytest.fixture
def other(clean_lab: Lab) -> Iterator[Desk]:
    """Where the daemon is restored: another folder, the same lab."""
    with desk_folder() as folder:
        person = Desk.at_lab(clean_lab, folder)
        yield person
        person.close()


def pipeline(first: str, second: str) -> str:
    return PIPELINE.replace("HOST_A", first).replace("HOST_B", second)


def let_end(lab: Lab, run: str, name: str) -> None:
    """End the loop of a stage, wherever its container is."""
    script = (
        f"docker ps -q --filter label=hostler.attempt={run}-{name}-1 | "
        "xargs -r -I{} docker exec {} touch /tmp/go"
    )
    for host in lab.hosts:
        host.exec(["sh", "-c", script])


def is_running(desk: Desk, run: str, name: str) -> None:
    desk.until(run, lambda r: stage(r, name)["status"] == "running")


def test_an_older_backup_is_restored_beside_running_work(
    clean_lab: Lab, desk: Desk, other: Desk, tmp_path: Path
) -> None:
    lab, file = clean_lab, tmp_path / "file"
    known = desk.submit(pipeline("gpu1", "gpu3"))
    short = desk.submit(pipeline("gpu1", "gpu2"))
    for run_id in (known, short):
        is_running(desk, run_id, "a")
    desk.ok("daemon", "backup", str(file))

    # What the backup does not know: an end, a second stage, and a run of its own.
    newer = desk.submit(pipeline("gpu2", "gpu3"))
    is_running(desk, newer, "a")
    for run_id in (short, known):
        let_end(lab, run_id, "a")
        is_running(desk, run_id, "b")
    let_end(lab, short, "b")
    assert desk.ended(short)["outcome"] == "succeeded"
    lab.host("gpu3").cut()

    shutil.copytree(desk.state / "content", other.state / "content")
    other.state.chmod(0o700)
    other.ok("daemon", "restore", str(file))
    other.start_daemon()
    wait_until(lambda: other.standing()["unmerged"] == ["gpu3"], "the others are merged")
    told = other.ok("daemon", "status", "--json").json["daemon"]["generation"]
    assert told == other.standing()
    wait_until(lambda: "may have started on gpu3" in other.why(known), "it says why")
    assert "may have started on gpu3" in other.ok("why", known).out
    wait_until(lambda: bool(desk.standing()["halted"]), "the old daemon is told")
    refused = desk.hostler("run", "-d", "--", "true")
    assert (refused.code, "a newer generation" in refused.err) == (2, True)
    assert other.ended(short)["outcome"] == "succeeded"
    assert stage(other.show(known), "b")["status"] == "waiting"
    is_running(other, newer, "a")

    lab.host("gpu3").heal()
    wait_until(lambda: other.standing()["unmerged"] == [], "the silent host is merged")
    let_end(lab, known, "b")
    let_end(lab, newer, "a")
    is_running(other, newer, "b")
    let_end(lab, newer, "b")
    for run_id in (known, newer):
        run = other.ended(run_id)
        assert run["outcome"] == "succeeded", other.log()
        assert [len(s["attempts"]) for s in run["stages"]] == [1, 1]
    assert desk.show(known)["outcome"] is None
    assert len([g for g in lab.grants() if g.gpus]) == 6
    assert lab.referee_overlaps() == []
    ours = (other.state / "id").read_text().strip()
    listing = f"docker ps -aq --filter label=hostler.daemon={ours}"
    wait_until(
        lambda: not any(host.exec(["sh", "-c", listing]).stdout for host in lab.hosts),
        "no container is left",
    )
