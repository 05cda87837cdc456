"""An image that one host has runs on others, which have no network: it is brought there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

IMAGE = "lab/only-here:1"
ONE = f"""
name = "t"
[defaults]
image = "{IMAGE}"
code = "none"
[stages.one]
command = ["cat", "/marker"]
resources = {{ host = "gpu2" }}
"""
TWO = """
[stages.two]
command = ["cat", "/marker"]
resources = { host = "gpu3" }
"""


def make_image(host: Host, marker: str) -> None:
    """An image with a layer of its own, as a person makes one by hand."""
    host.docker("run", "--name", "made", BUSYBOX, "sh", "-c", f"echo {marker} > /marker")
    host.docker("commit", "made", IMAGE)
    host.docker("rm", "made")


def names(host: Host) -> set[str]:
    """Of all images there."""
    shown = host.docker("images", "--format", "{{.Repository}}:{{.Tag}}")
    return set(shown.split())


def told(run: dict[str, Any]) -> list[str]:
    """Why its attempts ended as they did."""
    return [str(each["detail"]) for stage in run["stages"] for each in stage["attempts"]]


def test_an_image_of_one_host_is_brought_to_those_that_need_it(clean_lab: Lab, desk: Desk) -> None:
    source, *targets = [clean_lab.host(name) for name in ("gpu1", "gpu2", "gpu3")]
    make_image(source, "first")
    before = names(source)
    run_id = desk.submit(ONE + TWO)
    run = desk.ended(run_id)
    assert run["outcome"] == "succeeded", told(run)
    assert [desk.output(run_id, name) for name in ("one", "two")] == ["first\n"] * 2
    assert names(source) == before
    for target in targets:
        assert IMAGE not in names(target)
        assert any("/only-here:" in name for name in names(target))
        blobs = target.exec(["sh", "-c", "cat /var/tmp/hostler-*/blobs/* | wc -c"]).stdout
        assert int(blobs) < 100_000
    listed = desk.ok("images", "ls", "--json").json
    assert [(each["name"], each["host"]) for each in listed["images"]] == [(IMAGE, "gpu1")]
    sent = desk.ok("images", "send", IMAGE, "gpu2", "gpu3").out
    assert sent.count("/only-here:") == 2
    lost = desk.hostler("images", "send", "lab/nowhere:1", "gpu2")
    assert lost.code == 1
    assert "no connected host besides gpu2 has lab/nowhere:1" in lost.out
    source.docker("rmi", IMAGE)
    for target in targets:
        made = [name for name in names(target) if "/only-here:" in name]
        target.docker("rmi", *made)
    again = desk.run(ONE + TWO)
    assert again["outcome"] == "succeeded", told(again)
    assert all(any("/only-here:" in name for name in names(target)) for target in targets)
    desk.ok("images", "rm", IMAGE)
    desk.ok("gc", "-y")
    assert not any("/only-here:" in name for target in targets for name in names(target))


def test_a_daemon_that_is_killed_in_the_middle_goes_on(clean_lab: Lab, desk: Desk) -> None:
    source, target = clean_lab.host("gpu1"), clean_lab.host("gpu2")
    for point in ("after_image_tag", "after_image_take", "before_image_load", "after_image_load"):
        make_image(source, point)
        desk.more_env = {"HOSTLER_FAILPOINTS": f"{point}:kill"}
        desk.start_daemon()
        pid = desk.daemon_pid()
        run_id = desk.submit(ONE)
        desk.wait_death(pid, 60)
        desk.more_env = {}
        desk.start_daemon()
        run = desk.ended(run_id)
        assert run["outcome"] == "succeeded", told(run)
        assert desk.output(run_id, "one") == f"{point}\n"
        assert not any(name.startswith("127.") for name in names(source))
        desk.ok("daemon", "stop")
    assert IMAGE not in names(target)
