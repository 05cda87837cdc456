"""Hosts whose Python is somebody else's: they are put aside with a reason, and the others go on."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.support.machines.desk import Desk, wait_until

pytestmark = pytest.mark.lab

PLACE = "/usr/local/bin/python3"
READY = """echo '{"agent":"ready"}'; """
SAID = {
    "gpu1": READY + 'exec yes \'{"id":1,"ok":{}}\'',
    "gpu2": READY + r"tr '\0' x </dev/zero",
}
"""What they say in place of an agent's first line: lines without end, and one line without end."""


@pytest.fixture
def hostile_lab(clean_lab: Lab) -> Iterator[Lab]:
    """gpu1 and gpu2 hostile, gpu3 not."""
    for name, script in SAID.items():
        lines = f"printf '#!/bin/sh\\n%s\\n' \"$1\" >{PLACE} && chmod 755 {PLACE}"
        clean_lab.host(name).exec(["sh", "-c", lines, "sh", script])
    yield clean_lab
    for name in SAID:
        clean_lab.host(name).exec(["rm", "-f", PLACE])


def hosts(desk: Desk) -> dict[str, dict[str, Any]]:
    """What is told of each host."""
    return {each["name"]: each for each in desk.hosts()}


def cost(pid: int) -> tuple[float, float]:
    """Processor seconds so far, and the largest it was in MiB."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return (int(fields[11]) + int(fields[12])) / 100, int(found[1]) / 1024


def test_hostile_hosts_are_put_aside_and_others_go_on(hostile_lab: Lab, desk: Desk) -> None:
    desk.ok("daemon", "start")
    wait_until(lambda: hosts(desk)["gpu3"]["condition"] == "up", "the good host is seen")
    wait_until(lambda: all(hosts(desk)[name]["problem"] for name in SAID), "the reasons are told")
    used, begun = cost(desk.daemon_pid())[0], time.monotonic()
    for _ in range(3):
        run_id = desk.ok("run", "-d", "-q", "--gpus", "1", "--", "true").out.strip()
        run = desk.ended(run_id)
        assert run["outcome"] == "succeeded"
        assert [each["attempt"]["host"] for each in run["stages"]] == ["gpu3"]
    seconds, largest = cost(desk.daemon_pid())
    assert largest < 200
    assert seconds - used < 0.7 * (time.monotonic() - begun)
    shown = hosts(desk)
    for name in SAID:
        assert shown[name]["condition"] != "up", shown[name]
        assert "the agent sent" in shown[name]["problem"]
    assert "Traceback" not in desk.log()
