"""Files that are too large to be copied: they stay on the host, are kept, and go when asked."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.machines.desk import Desk, wait_until

WRITES = """
name = "k"
[stages.a]
shell = true
command = "head -c 5000 /dev/zero > model.pt"
"""


def folder_of(run_id: str) -> Path:
    """Of the only attempt of stage `a`."""
    return Path(f"/var/tmp/hostler-{os.getuid()}/jobs/{run_id}-a-1")


def test_a_file_that_is_too_large_stays_is_kept_and_goes_with_its_run(alone: Desk) -> None:
    limits = '[limits]\nkept_files = "1KiB"\nkept_on_host = "1KiB"\n'
    alone.config.write_text(limits + alone.config.read_text())
    run_id = alone.run(WRITES)["run_id"]
    model = folder_of(run_id) / "work" / "model.pt"
    assert model.stat().st_size == 5000
    kept = alone.ok("keep", run_id, "--until", "30d").out
    assert f"{run_id}: " in kept
    assert "model.pt (4.9 KiB) on here" in kept

    waits = alone.submit(WRITES)
    wait_until(lambda: "[limits] kept_on_host" in alone.ok("why", waits).out, "it does not wait")
    assert "above its limit of 1 KiB ([limits] kept_on_host)" in alone.ok("why", waits).out

    refused = alone.hostler("rm", "-y", run_id)
    assert (refused.code, model.exists()) == (2, True)
    assert f"hostler keep {run_id} --forget" in refused.err
    alone.ok("keep", run_id, "--forget")
    alone.ok("rm", "-y", run_id)
    wait_until(lambda: not model.exists(), "it does not go")
    assert alone.ended(waits)["outcome"] == "succeeded"
    alone.ok("rm", "-y", waits)
    wait_until(lambda: not folder_of(waits).exists(), "it does not go")
