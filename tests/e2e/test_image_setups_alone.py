"""`setup` beside `image`, as people write it: a daemon of one's own, and a real Docker here."""

from __future__ import annotations

import os
from pathlib import Path

import docker
import pytest

from tests.e2e.test_builds_alone import desk, dockerd, person
from tests.support.machines.desk import Desk, wait_until
from tests.support.machines.dockerd import IMAGE, Dockerd, runs

__all__ = ["desk", "dockerd", "person"]

PIPELINE = f"""
name = "set-up"
[stages.train]
image = "{IMAGE}"
command = "cat /made"
setup = '''
id -u > /made
cat requirements.txt >> /made
ls >> /made
false | true || true
'''
"""


@pytest.fixture
def work(desk: Desk) -> Path:
    (desk.work / "requirements.txt").write_text("torch\n")
    (desk.work / "train.py").write_text("1\n")
    return desk.work


def test_a_setup_is_a_layer_that_all_runs_share_who_ask_the_same(desk: Desk, work: Path) -> None:
    run = desk.ended(desk.submit(PIPELINE))
    assert run["outcome"] == "succeeded", desk.output(run["run_id"], "train")
    said = desk.output(run["run_id"], "train")
    assert said.endswith("0\ntorch\nrequirements.txt\n")
    assert "RUN --mount" in said
    (work / "train.py").write_text("2\n")
    again = desk.ended(desk.submit(PIPELINE))
    assert desk.output(again["run_id"], "train") == "0\ntorch\nrequirements.txt\n"
    digests = [each["stages"][0]["attempts"][-1]["image_digest"] for each in (run, again)]
    assert digests[0] == digests[1]
    (work / "requirements.txt").write_text("numpy\n")
    other = desk.ended(desk.submit(PIPELINE))
    assert desk.output(other["run_id"], "train").endswith("0\nnumpy\nrequirements.txt\n")


def test_a_setup_that_fails_or_takes_too_long_says_so(desk: Desk, work: Path) -> None:
    desk.hostler("secret", "set", "TOKEN", given=b"canary-4471")
    fails = "setup = 'echo ${TOKEN:-none} $PIP_INDEX_URL; ls nothing'\nsecrets = ['TOKEN']\n"
    head = f'name = "f"\n[stages.train]\nimage = "{IMAGE}"\ncommand = "true"\n'
    run = desk.ended(desk.submit(f'{head}{fails}env = {{ PIP_INDEX_URL = "https://x.example" }}\n'))
    attempt = run["stages"][0]["attempts"][-1]
    assert attempt["cause"] == "setup failed"
    assert attempt["detail"].startswith("setup ended with exit code 1; its last lines: ")
    assert "none https://x.example" in desk.output(run["run_id"], "train")
    mine = os.getpid()  # what another run of the tests has left is not taken for this one's
    slow = f"setup = 'echo begins; sleep 60316.{mine}'\nsetup_timeout = '0.5s'\n"
    attempt = desk.ended(desk.submit(head + slow))["stages"][0]["attempts"][-1]
    assert attempt["cause"] == "setup time limit"
    wait_until(lambda: not runs("sleep", f"60316.{mine}"), "the setup goes on")
    run_id = desk.submit(head + f"setup = 'echo begins; sleep 60317.{mine}'\n")
    wait_until(lambda: runs("sleep", f"60317.{mine}"), "no setup")
    desk.ok("cancel", run_id)
    assert desk.ended(run_id)["outcome"] == "cancelled"
    wait_until(lambda: not runs("sleep", f"60317.{mine}"), "the setup goes on")


def test_a_daemon_that_is_killed_at_a_build_goes_on(
    desk: Desk, dockerd: Dockerd, work: Path
) -> None:
    (work / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo said > /said\n")
    build = 'name = "b"\n[stages.image]\nkind = "build"\n[stages.x]\nimage = "image"\n'
    build += 'command = "cat /said"\n'
    other = PIPELINE.replace(
        "ls >>", "echo other >> /made; ls >>"
    )  # of which no image is there yet
    for text, point in ((build, "before_build"), (build, "after_build"), (other, "after_build")):
        desk.close()
        desk.more_env["HOSTLER_FAILPOINTS"] = f"{point}:kill"
        desk.start_daemon()
        run_id = desk.submit(text)
        desk.wait_death(desk.daemon_pid(), 60)
        del desk.more_env["HOSTLER_FAILPOINTS"]
        run = desk.ended(run_id)
        assert run["outcome"] == "succeeded", desk.output(run_id, run["stages"][0]["name"])
        assert [len(stage["attempts"]) for stage in run["stages"]] == [1] * len(run["stages"])
    client = docker.APIClient(base_url=dockerd.url, version="auto")
    names = [name for image in client.images() for name in image["RepoTags"] or ()]
    client.close()
    assert not [name for name in names if "/base-" in name]
    assert [name for name in names if "/setup/2" in name]
