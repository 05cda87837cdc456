"""`hostler deploy` and `hostler rollback`: the question, how they end, and which log is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hostler.model.codec import to_json
from hostler.model.views.runs import StageView
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import Answer, Asked, ScriptedDaemon
from tests.support.values.run_objects import attempt, run, stage

NAMES = ("deploy", "rollback")
WORDS = {"deploy": ("deploy", "FILE"), "rollback": ("rollback", "digits")}
FILE = """
name = "digits"
[stages.serve]
kind = "service"
command = "serve"
code = "none"
health = "/"
"""


def release(state: str = "delivering", **more: Any) -> dict[str, Any]:
    is_open = state not in ("live", "retired", "restored")
    made = {"service": "digits", "number": 2, "run_id": "r7", "state": state, "is_open": is_open}
    return {**made, **more}


@pytest.fixture
def lab(daemon: ScriptedDaemon, tmp_path: Path) -> ScriptedDaemon:
    """Where every release that is opened is over at once."""
    (tmp_path / "pipeline.toml").write_text(FILE)
    for path in ("deploy/plan", "deploy/digits/rollback/plan"):
        daemon.on("POST", f"/v1/{path}", {"service": "digits", "how": "surge"})
    daemon.on("GET", "/v1/deploy/digits", {"releases": []})
    become(daemon, "live")
    return daemon


def become(daemon: ScriptedDaemon, state: str, **more: Any) -> None:
    """What a release is as soon as it is opened."""
    for path in ("deploy", "deploy/digits/rollback"):
        daemon.on("POST", f"/v1/{path}", release(state, **more))


def words(name: str, folder: Path) -> list[str]:
    return [word.replace("FILE", str(folder / "pipeline.toml")) for word in WORDS[name]]


@pytest.mark.parametrize("name", NAMES)
def test_no_to_the_question_ends_as_everywhere(
    name: str, hostler: CommandLine, lab: ScriptedDaemon, terminal: Any, tmp_path: Path
) -> None:
    terminal("\n")
    assert hostler(*words(name, tmp_path), tty=True).code == 130
    assert not lab.requests("POST", "/v1/deploy")
    assert not lab.requests("POST", "/v1/deploy/digits/rollback")


@pytest.mark.parametrize("name", NAMES)
def test_both_end_in_one_way(
    name: str, hostler: CommandLine, lab: ScriptedDaemon, tmp_path: Path
) -> None:
    asked = words(name, tmp_path)
    assert hostler(*asked, "-y", "-d").out == "2\n"
    detached = hostler(*asked, "-y", "-d", "--json").json
    assert (detached["schema"], detached["state"]) == ("hostler.release/1", "live")
    assert hostler(*asked, "-y", "--json").json == detached
    assert "digits serves release 2" in hostler(*asked, "-y").out
    become(lab, "starting")
    late = hostler(*asked, "-y", "--json", "--timeout", "0")
    assert (late.code, late.json["state"]) == (8, "starting")


def test_the_code_is_packed_once_and_what_was_shown_is_sent(
    hostler: CommandLine, lab: ScriptedDaemon, terminal: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    packed, work = tmp_path / "tmp", tmp_path / "work"
    packed.mkdir()
    work.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(packed))
    code = work / "serve.py"
    code.write_text("first")
    (work / "pipeline.toml").write_text(FILE.replace('"none"', '"snapshot"'))

    def changed(_: Asked) -> Answer:
        code.write_text("second")  # while the person reads the question
        return Answer({"service": "digits", "how": "surge"})

    lab.on("POST", "/v1/check", {"source_size": 1 << 20, "source_file": 1 << 20})
    lab.on("HEAD", "/v1/snapshots/*", Answer(status=404))
    lab.on("PUT", "/v1/snapshots/*", {})
    lab.on("POST", "/v1/deploy/plan", changed)
    assert hostler("deploy", str(work), "-y").code == 0
    (plan,), (deploy,) = lab.requests("POST", "/v1/deploy/plan"), lab.requests("POST", "/v1/deploy")
    (sent,) = (asked for asked in lab.asked if asked.method == "PUT")
    assert plan.json["source"]["digest"] == deploy.json["source"]["digest"]
    assert (b"first" in sent.body, b"second" in sent.body) == (True, False)
    terminal("\n")
    assert hostler("deploy", str(work), tty=True).code == 130
    assert hostler("deploy", str(work), "--plan").code == 0
    assert list(packed.iterdir()) == []


def test_why_something_did_not_start_is_shown_though_it_wrote_nothing(
    hostler: CommandLine, lab: ScriptedDaemon, tmp_path: Path
) -> None:
    tried = attempt("failed", cause="start failed", detail="no space on gpu1")
    become(lab, "restored", reason="it failed")
    lab.on(
        "GET", "/v1/runs/r7", to_json(run(stage("image", "failed", kind="build", attempt=tried)))
    )
    lab.on("GET", "/v1/runs/r7/*", Answer(parts=[]))
    ran = hostler("deploy", str(tmp_path), "-y")
    assert (ran.code, ran.err.splitlines()[-1]) == (6, "image: start failed: no space on gpu1")


def test_undoing_what_takes_over_is_what_was_wanted(
    hostler: CommandLine, lab: ScriptedDaemon
) -> None:
    lab.on("GET", "/v1/deploy/digits", {"releases": [release("starting")]})
    become(lab, "restored", reason="ana stopped it")
    ran = hostler("rollback", "digits", "-y")
    assert (ran.code, "ana stopped it" in ran.err, "the last of" in ran.err) == (0, True, False)


@pytest.mark.parametrize(
    ("stages", "shown"),
    [
        ([stage("image", "failed", kind="build")], "image"),
        (
            [
                stage("image", "succeeded", kind="build"),
                stage("serve.0", "succeeded", kind="service"),
                stage("serve.1", "failed", kind="service"),
            ],
            "serve.1",
        ),
        ([stage("image", "succeeded", kind="build"), stage("serve.0", kind="service")], None),
    ],
)
def test_the_log_of_what_failed_is_shown(
    stages: list[StageView], shown: str | None, hostler: CommandLine, lab: ScriptedDaemon,
    tmp_path: Path,
) -> None:  # fmt: skip
    become(lab, "restored", reason="it failed")
    lab.on("GET", "/v1/runs/r7", to_json(run(*stages)))
    lab.on("GET", "/v1/runs/r7/*", Answer(parts=[b"no such file\n"]))
    ran = hostler("deploy", str(tmp_path), "-y")
    assert ran.code == 6
    assert "release 2 of digits is restored: it failed" in ran.err
    said = "" if shown is None else f"the last of {shown}:\n  no such file\n"
    assert ran.err.endswith(said)
    assert ("the last of" in ran.err) == (shown is not None)


@pytest.fixture
def folder(lab: ScriptedDaemon, tmp_path: Path) -> Path:
    """With a Dockerfile and without a pipeline file."""
    made = tmp_path / "digits"
    made.mkdir()
    (made / "Dockerfile").write_text('FROM x\nEXPOSE 8000\nCMD ["serve"]\n')
    sizes = {"source_size": 1 << 20, "source_file": 1 << 20}
    lab.on("POST", "/v1/check", sizes)
    lab.on("HEAD", "/v1/snapshots/*", Answer(status=404))
    lab.on("PUT", "/v1/snapshots/*", {})
    return made


def test_a_folder_with_a_dockerfile_is_deployed(
    hostler: CommandLine, lab: ScriptedDaemon, folder: Path
) -> None:
    text = hostler("deploy", str(folder), "--gpus", "2", "--print").out
    assert 'name = "digits"' in text
    assert "gpus = 2" in text
    assert lab.asked == []
    planned = hostler("deploy", str(folder), "--plan").out
    assert "(--print):\n  name =" in planned
    assert not [asked for asked in lab.asked if asked.method == "PUT"]
    ran = hostler("deploy", str(folder / "Dockerfile"), "--port", "1", "-y", "--rebuild")
    assert "digits serves release 2" in ran.out
    assert "is deployed with default values" in ran.err
    plan, sent = (lab.requests("POST", f"/v1/deploy{end}")[-1].json for end in ("/plan", ""))
    assert "port = 1" in sent["pipeline"]
    assert (plan["source"]["digest"], sent["rebuild"]) == (sent["source"]["digest"], True)


def test_what_to_deploy_has_to_be_there(
    hostler: CommandLine, lab: ScriptedDaemon, tmp_path: Path
) -> None:
    refused = hostler("deploy", str(tmp_path), "--port", "1", "--gpus", "2")
    assert (refused.code, "--port, --gpus cannot be used with" in refused.err) == (2, True)
    empty = tmp_path / "empty"
    empty.mkdir()
    refused = hostler("deploy", str(empty))
    assert (refused.code, "contains no pipeline.toml and no Dockerfile" in refused.err) == (2, True)
    assert lab.asked == []


def test_a_variable_that_is_called_like_a_secret_is_warned_of(
    hostler: CommandLine, lab: ScriptedDaemon, tmp_path: Path
) -> None:
    said = hostler(*words("deploy", tmp_path), "--plan", "--env", "API_KEY=abc", "--env", "N=1")
    assert said.code == 0
    assert said.err == (
        "--env API_KEY is stored and visible to all users, like other variables; "
        'secrets = ["API_KEY"] in the pipeline file are not\n'
    )


def test_problems_of_a_folder_are_named_by_option(
    hostler: CommandLine, lab: ScriptedDaemon, tmp_path: Path
) -> None:
    """The lines of the pipeline file that a Dockerfile stands for are none of the Dockerfile."""
    problem = {"path": "stages.serve.port", "message": "should be less", "line": 14}
    refused = {"kind": "PipelineError", "message": "df/Dockerfile cannot be used: 1 problem"}
    error = {"error": {**refused, "remedy": "", "problems": [problem]}}
    lab.on("POST", "/v1/check", Answer(error, 400))
    (tmp_path / "df").mkdir()
    (tmp_path / "df/Dockerfile").write_text('FROM a\nEXPOSE 80\nCMD ["true"]\n')
    said = hostler("deploy", "--plan", str(tmp_path / "df"))
    assert said.code == 2
    assert "  port: should be less" in said.err
    lab.on("POST", "/v1/deploy/plan", Answer(error, 400))
    said = hostler(*words("deploy", tmp_path), "--plan")
    assert "  line 14: stages.serve.port: should be less" in said.err  # of a file it is


def test_a_service_that_was_stopped_is_listed_where_all_are_wanted(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    stopped = {"name": "digits", "run_id": "r7", "pipeline": "digits", "state": "stopped",
               "stopped": "it was stopped", "since": 1.0}  # fmt: skip

    def answered(asked: Asked) -> Answer:
        return Answer({"services": [stopped] if asked.query.get("stopped") else []})

    daemon.on("GET", "/v1/services", answered)
    assert "hostler services --all" in hostler("services", tty=True).err
    assert "hostler services --all" in hostler("services", "digits").err
    shown = hostler("services", "--all", tty=True)
    assert "stopped" in shown.out
    assert "hostler rollback digits N" in shown.err
