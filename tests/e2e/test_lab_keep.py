"""Ended containers that stay on their hosts with files that were too large to be copied."""

from __future__ import annotations

import pytest

from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.hosts("gpu1")]

WRITES = f"""
name = "k"
[stages.a]
image = "{BUSYBOX}"
shell = true
command = "head -c 5000 /dev/zero > model.pt"
resources = {{ host = "gpu1" }}
"""


def containers(host: Host) -> set[str]:
    """Attempts that have a container there, running or not."""
    label = '{{.Label "hostler.attempt"}}'
    found = host.docker("ps", "-a", "--filter", "label=hostler.attempt", "--format", label)
    return set(found.split())


def test_an_ended_container_stays_and_goes_with_its_run_and_a_pruned_one_is_told_as_lost(
    clean_lab: Lab, desk: Desk
) -> None:
    desk.config.write_text('[limits]\nkept_files = "1KiB"\n' + desk.config.read_text())
    host = clean_lab.host("gpu1")
    pruned, kept = (str(desk.run(WRITES)["run_id"]) for _ in range(2))
    wait_until(
        lambda: containers(host) == {f"{pruned}-a-1", f"{kept}-a-1"}, "they do not stay", timeout=30
    )
    (left,) = desk.show(kept)["staying"]
    assert (left["host"], left["files"], left["size"]) == ("gpu1", 1, 5000)
    (container,) = host.docker(
        "ps", "-aq", "--filter", f"label=hostler.attempt={pruned}-a-1"
    ).split()
    host.docker("rm", container)
    desk.ok("keep", pruned)

    desk.ok("rm", "-y", kept)  # and all that hosts keep is looked at
    wait_until(lambda: containers(host) == set(), "it does not go", timeout=60)
    wait_until(lambda: not desk.show(pruned)["staying"], "it is not told", timeout=60)
    assert f"of run {pruned} on gpu1 no longer exist" in desk.ok("alerts").out
