"""Images built as people build them: a daemon of one's own, and a real Docker on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machines.desk import Desk, desk_folder, local_desk, wait_until
from tests.support.machines.dockerd import IMAGE, Dockerd, runs, why_not

PIPELINE = """
name = "with-image"
[stages.image]
kind = "build"
args = { WORD = "hello" }
[stages.train]
command = "cat /said"
image = "image"
"""


@pytest.fixture(scope="module")
def dockerd() -> Iterator[Dockerd]:
    """A running dockerd with the test image."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    engine = Dockerd()
    try:
        engine.start()
        engine.load_image()
        yield engine
    finally:
        engine.stop()


@pytest.fixture(scope="module")
def person(dockerd: Dockerd) -> Iterator[Desk]:
    """Somebody with that Docker."""
    with desk_folder() as folder:
        person = local_desk(folder)
        person.more_env["DOCKER_HOST"] = dockerd.url
        config = person.config.read_text() if person.config.exists() else ""
        person.config.write_text(f'{config}\n[docker]\nnetwork = "none"\n')
        yield person
        person.close()


@pytest.fixture
def desk(person: Desk, tmp_path: Path) -> Desk:
    """With the daemon of all tests of the file, in a work folder of its own."""
    return person.at_work(tmp_path / "work")


def _dockerfile(desk: Desk, *lines: str) -> None:
    text = "\n".join((f"FROM {IMAGE}", "ARG WORD", *lines))
    (desk.work / "Dockerfile").write_text(f"{text}\n")


def _wait_for_build(desk: Desk, run_id: str) -> None:
    """Until its last step has begun."""

    def begun() -> bool:
        return "begins" in desk.hostler("logs", f"{run_id}/image").out.splitlines()

    wait_until(begun, "no build")


def test_an_image_is_built_and_used(desk: Desk) -> None:
    _dockerfile(desk, "RUN echo said $WORD > /said")
    run = desk.ended(desk.submit(PIPELINE))
    assert run["outcome"] == "succeeded", desk.output(run["run_id"], "image")
    assert desk.output(run["run_id"], "train") == "said hello\n"
    image, train = (stage["attempts"][-1] for stage in run["stages"])
    assert image["image_digest"] == train["image_digest"]
    assert "[2/2] RUN echo said" in desk.output(run["run_id"], "image")
    again = desk.ended(desk.submit(PIPELINE))
    assert again["stages"][0]["attempts"][-1]["image_digest"] == image["image_digest"]
    assert "CACHED" in desk.output(again["run_id"], "image")


def test_a_build_goes_on_after_its_daemon_was_killed(desk: Desk) -> None:
    first = "if mkdir /c/first; then echo begins; sleep 60314; fi"
    waits = f"RUN --mount=type=cache,target=/c {first}; echo said $WORD > /said"
    _dockerfile(desk, "RUN echo done before", waits)
    run_id = desk.submit(PIPELINE)
    _wait_for_build(desk, run_id)
    desk.kill_daemon()
    run = desk.ended(run_id)
    assert run["outcome"] == "succeeded", desk.output(run_id, "image")
    assert [len(stage["attempts"]) for stage in run["stages"]] == [1, 1]
    log = desk.output(run_id, "image")
    assert "[hostler] it starts again" in log
    assert "CACHED" in log.partition("it starts again")[2]


def test_a_cancelled_build_leaves_nothing(desk: Desk) -> None:
    mine = f"60315.{os.getpid()}"  # other runs of the tests may be on this machine
    _dockerfile(desk, f"RUN echo begins; sleep {mine}")
    run_id = desk.submit(PIPELINE)
    _wait_for_build(desk, run_id)
    wait_until(lambda: runs("sleep", mine), "its last step does not run")
    desk.ok("cancel", run_id)
    assert desk.ended(run_id)["outcome"] == "cancelled"
    wait_until(lambda: not runs("sleep", mine), "the build goes on")


def test_a_secret_of_a_build_is_in_no_layer_and_no_log(desk: Desk) -> None:
    desk.hostler("secret", "set", "TOKEN", given=b"canary-8812")
    mount = "--mount=type=secret,id=TOKEN"
    _dockerfile(desk, f"RUN {mount} cat /run/secrets/TOKEN; wc -c < /run/secrets/TOKEN > /said")
    text = PIPELINE.replace('kind = "build"', 'kind = "build"\nsecrets = ["TOKEN"]')
    run = desk.ended(desk.submit(text))
    log = desk.output(run["run_id"], "image")
    assert run["outcome"] == "succeeded", log
    assert desk.output(run["run_id"], "train") == "11\n"
    assert "***" in log
    assert "canary-8812" not in log


def test_failures_are_told_in_words(desk: Desk) -> None:
    _dockerfile(desk, "RUN echo oh; exit 7")
    run = desk.ended(desk.submit(PIPELINE))
    attempt = run["stages"][0]["attempts"][-1]
    assert (attempt["cause"], attempt["exit_code"]) == ("user error", 7)
    assert attempt["detail"] == "[2/2] RUN echo oh; exit 7: exit code 7"
    (desk.work / "Dockerfile").write_text("FROM nowhere.example/none:1\n")
    attempt = desk.ended(desk.submit(PIPELINE))["stages"][0]["attempts"][-1]
    assert attempt["cause"] == "start failed"
    assert "the base image: nowhere.example/none:1 is not on" in attempt["detail"]
    (desk.work / "Dockerfile").unlink()
    attempt = desk.ended(desk.submit(PIPELINE))["stages"][0]["attempts"][-1]
    assert "the source has no Dockerfile" in attempt["detail"]


def test_one_image_by_the_command_line(desk: Desk) -> None:
    _dockerfile(desk, "ARG OTHER", 'RUN echo "$WORD $OTHER" > /said && cat /said')
    said = desk.ok("build", "--arg", "WORD={params.x}", "--arg", "OTHER=a=b")
    assert "{params.x} a=b" in said.out.splitlines()
    image, on, host = said.out.splitlines()[-1].split()
    assert (image[:7], on, host) == ("sha256:", "on", "here")
    assert desk.ok("build", "-q", ".", "--arg", "WORD={params.x}", "--arg", "OTHER=a=b").out == (
        f"{image}\n"
    )
    desk.ok("build", "-q", "-t", "mine:1", "--arg", "WORD={params.x}", "--arg", "OTHER=a=b")
    used = desk.ok("run", "--wait", "-q", "--image", "mine:1", "--", "cat", "/said").out
    assert used == "{params.x} a=b\n"
    _dockerfile(desk, "RUN exit 3")
    said = desk.hostler("build")
    assert said.code == 6
    assert "[2/2] RUN exit 3: exit code 3" in said.err
    said = desk.hostler("build", "nowhere")
    assert (said.code, said.out) == (2, "")
    assert "there is no folder nowhere" in said.err
    said = desk.hostler("build", "-f", "gpu.Dockerfile")
    assert "has no gpu.Dockerfile" in said.err
