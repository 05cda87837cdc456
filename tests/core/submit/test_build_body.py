"""What `hostler build` submits."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.base.errors import InputError
from hostler.spec.pipeline import read_pipeline
from hostler.submit.build_body import build_body
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import Answer, ScriptedDaemon


@pytest.mark.parametrize("name", ["My Project!", "a", "...", "Größe", "x" * 99, "-"])
def test_any_folder_gives_a_pipeline(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    args = {"A": 'quo"ted\n{params.x} {{b}} ${c} \\', "B": "2"}
    body = build_body(folder, target="run", args=args, hosts=["gpu*"])
    (stage,) = read_pipeline(str(body["pipeline"]), file="build").stages
    assert stage.args == args
    assert (stage.kind, stage.target, stage.resources.hosts) == ("build", "run", ("gpu*",))


def test_what_is_not_there_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        build_body(tmp_path / "none")
    with pytest.raises(InputError, match=r"has no Dockerfile\. Name it: hostler build -f FILE"):
        build_body(tmp_path)


def test_an_argument_like_a_secret_is_warned_of_and_a_wrong_one_is_named_without_a_line(
    daemon: ScriptedDaemon, hostler: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    problem = {"path": "stages.image.tag", "message": "'a b' is not a name", "line": 5}
    refused = {"kind": "PipelineError", "message": "build cannot be used: 1 problem"}
    error = {"error": {**refused, "remedy": "", "problems": [problem]}}
    daemon.on("POST", "/v1/check", Answer(error, 400))
    said = hostler("build", "--arg", "API_TOKEN=abc", "--arg", "N=1", "-t", "a b", str(tmp_path))
    assert said.code == 2
    assert said.err.splitlines() == [
        "--arg API_TOKEN is stored and visible to all users, like other variables; it also stays "
        'readable in the image. Use a pipeline file with kind = "build" and secrets = '
        '["API_TOKEN"]',
        "hostler: build cannot be used: 1 problem",
        "  tag: 'a b' is not a name",
    ]
