"""Files of containers on a real lab: saved, or left on their host in the ended container."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, stage, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.hosts("gpu1")]

HEAD = f'name = "t"\n[defaults]\nimage = "{BUSYBOX}"\nshell = true\n'
LIMIT = '\n[limits]\nkept_files = "100KiB"\n'


@pytest.fixture(scope="module")
def limited(shared_desk: Desk) -> Desk:
    """Somebody who has only small files copied; what both tests here write bears it."""
    shared_desk.config.write_text(shared_desk.config.read_text() + LIMIT)
    return shared_desk


@pytest.fixture
def desk(limited: Desk, tmp_path: Path) -> Desk:
    """A work folder of the test's own, at the desk that all tests here share."""
    return limited.at_work(tmp_path / "work")


def containers(lab: Lab, run_id: str) -> list[str]:
    """Names of the containers of a run on gpu1, running or not."""
    told = lab.host("gpu1").docker("ps", "-a", "--format", "{{.Names}}")
    return [name for name in told.split() if run_id in name]


def test_files_of_a_container_are_saved_and_the_container_goes(
    lab: Lab, desk: Desk, tmp_path: Path
) -> None:
    run = desk.run(
        HEAD
        + """
[stages.a]
command = "mkdir -p runs && echo model > model.pt && echo a > runs/a"
resources = { host = "gpu1", gpus = 1 }
"""
    )
    assert run["outcome"] == "succeeded"
    desk.ok("get", run["run_id"], "-o", str(tmp_path))
    found = {str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*.pt")}
    assert found == {"model.pt": "model\n"}
    wait_until(lambda: not containers(lab, run["run_id"]), "the container goes", 60)


def test_what_is_too_large_stays_in_the_ended_container_and_get_brings_it(
    lab: Lab, desk: Desk, tmp_path: Path
) -> None:
    run = desk.run(
        HEAD
        + """
[stages.a]
command = "head -c 300000 /dev/zero > large.bin && echo small > small.txt; exit 4"
resources = { host = "gpu1", gpus = 1 }
"""
    )
    run_id = run["run_id"]
    attempt = stage(run, "a")["attempt"]
    assert (attempt["phase"], attempt["exit_code"]) == ("failed", 4)
    shown = desk.ok("get", run_id, "--list").out
    assert "large.bin" in shown
    assert "small.txt" in shown
    assert len(containers(lab, run_id)) == 1, "it stays, and nobody takes it for an orphan"
    again = desk.run(
        HEAD + '[stages.b]\ncommand = "true"\nresources = { host = "gpu1", gpus = 1 }\n'
    )
    assert again["outcome"] == "succeeded", "its GPU is free"
    assert len(containers(lab, run_id)) == 1
    desk.ok("get", run_id, "large.bin", "-o", str(tmp_path))
    assert (tmp_path / "large.bin").stat().st_size == 300_000
