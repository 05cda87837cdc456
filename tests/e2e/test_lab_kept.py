"""What ended containers leave on their hosts is fetched from there."""

from __future__ import annotations

import pytest

from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.desk import Desk, desk_folder

pytestmark = pytest.mark.lab

STAGE = f"""
name = "k"
[stages.a]
image = "{BUSYBOX}"
shell = true
command = "mkdir runs; echo 1 > runs/loss.csv; head -c 3000000 /dev/urandom > big.bin; exit 3"
resources = {{ host = "gpu1" }}
"""


def test_what_a_failed_container_left_is_fetched(clean_lab: Lab) -> None:
    with desk_folder() as folder:
        desk = Desk.at_lab(clean_lab, folder, more='[limits]\nkept_files = "1MiB"\n')
        try:
            run = desk.run(STAGE)
            run_id = run["run_id"]
            assert run["outcome"] == "failed"
            listed = desk.ok("get", run_id, "--list").out
            rows = {row.split("\t")[1]: row.split("\t")[4] for row in listed.splitlines()}
            assert rows["runs/loss.csv"] == "saved, of a failed attempt"
            assert rows["big.bin"].startswith("gpu1:")
            desk.ok("get", run_id, "-o", "got", timeout=120)
            assert (desk.work / "got/big.bin").stat().st_size == 3_000_000
            assert (desk.work / "got/runs/loss.csv").read_text() == "1\n"
        finally:
            desk.close()
