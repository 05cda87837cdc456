from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hostler.api.bodies import SubmitBody
from hostler.base.errors import InputError, PipelineError
from hostler.base.keys import as_table
from hostler.cli.commands.run import options_of
from hostler.cli.parser import load, parse
from hostler.client import Client
from hostler.client.submission import choose_code, with_source
from hostler.submit.body import (
    command_body,
    current_folder,
    env_programs,
    matching,
    shell_env,
    stage_env,
    wants_snapshot,
    with_file_names,
)
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import VERSION, Answer, ScriptedDaemon
from tests.support.values.api_hosts import api_host


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('[stages.a]\ncommand = "x"\n', True),
        ('[stages.a]\ncode = "none"\n[stages.b]\ncode = "here"\n', False),
        ('[defaults]\ncode = "none"\n[stages.a]\n', False),
        ('[defaults]\ncode = "none"\n[stages.a]\ncode = "snapshot"\n', True),
        ("stages = 3\ndefaults = 4\n", False),
        ("[broken", False),
    ],
)
def test_code_is_packed_where_a_stage_wants_it(text: str, wanted: bool) -> None:
    assert wants_snapshot({"pipeline": text}) is wanted


def test_the_code_goes_along_once(daemon: ScriptedDaemon, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "train.py").write_text("print(1)")
    (folder / ".env").write_text("TOKEN=1")
    daemon.on("POST", "/v1/check", {"source_size": 1 << 20, "source_file": 1 << 20})
    daemon.on("HEAD", "/v1/snapshots/*", Answer(status=404))
    daemon.on("PUT", "/v1/snapshots/*", {})
    said: list[str] = []
    sending = with_source({"pipeline": "[stages.a]"}, folder, said.append)
    body = Client(daemon.path).carry_out(sending)
    sent = next(asked for asked in daemon.asked if asked.method == "PUT")
    source = as_table(body["source"])
    assert sent.path == f"/v1/snapshots/{source['digest']}"
    assert b"print(1)" in sent.body
    assert b"TOKEN" not in sent.body
    assert source["path"] == str(folder)
    assert said[0].startswith("sending 1 file (")
    assert any(".env" in line for line in said)


def test_a_mistake_costs_no_upload_and_names_of_files_are_enough_to_find_it(
    daemon: ScriptedDaemon, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.csv").write_text("1")
    wrong = {"kind": "PipelineError", "message": "pipeline.toml cannot be used"}
    daemon.on("POST", "/v1/check", Answer({"error": wrong}, 400))
    text = '[stages.a]\nmatrix = { f = { glob = "*.csv" } }\n'
    with pytest.raises(PipelineError):
        Client(daemon.path).carry_out(with_source({"pipeline": text}, folder, print))
    assert daemon.requests("POST", "/v1/check")[0].json["files"] == ["a.csv"]
    assert [asked.path for asked in daemon.asked if "snapshots" in asked.path] == []


def test_names_and_links_go_to_a_check_of_a_venv(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.txt").write_text("")
    (folder / "b.txt").symlink_to("a.txt")
    text = '[stages.a]\ncommand = "x"\n'
    assert "files" not in with_file_names({"pipeline": text}, folder)
    body = with_file_names({"pipeline": text + 'venv = "a.txt"\n'}, folder)
    assert (body["files"], body["links"]) == (["a.txt"], ["b.txt"])
    here = with_file_names({"pipeline": text + 'venv = "a.txt"\ncode = "here"\n'}, folder)
    assert "files" not in here


def test_the_daemons_limits_hold_before_anything_is_sent(
    daemon: ScriptedDaemon, tmp_path: Path
) -> None:
    (tmp_path / "big.bin").write_bytes(bytes(5000))
    for limits in (
        {"source_size": 4000, "source_file": 9000},
        {"source_size": 90000, "source_file": 4000},
    ):
        daemon.on("POST", "/v1/check", limits)
        with pytest.raises(InputError, match=r"big\.bin") as refused:
            Client(daemon.path).carry_out(with_source({"pipeline": "[stages.a]"}, tmp_path, print))
        assert "[limits]" in refused.value.remedy
    assert [asked.path for asked in daemon.asked if "snapshots" in asked.path] == []


def test_every_flag_is_something_that_the_daemon_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        "--gpus", "2", "--gpu-memory", "24GiB", "--model", "A100", "--model", "H100", "--image",
        "x:1", "--cpus", "1.5", "--ram", "8GiB", "--shm", "1GiB", "--host", "gpu*", "--env", "A=b",
        "--name", "try", "--time-limit", "2h", "--code", "none", "--mount", "data", "--", "x", "-y",
    ]  # fmt: skip
    args = parse("run", load("run"), words)
    assert args.command == ["x", "-y"]
    body = command_body(args.command, options_of(args), {"PATH": "/bin", "HOME": "/h"}, Path())
    read = SubmitBody.model_validate({**body, "title": "", "priority": 0, "source": {"path": "/x"}})
    command = read.to_model().command
    assert command is not None
    assert command["gpu_model"] == ["A100", "H100"]
    assert command["timeout"] == "2h"
    assert body["env"] == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("transport", "folder", "given", "code"),
    [
        ("local", "work", None, "here"),
        ("ssh", "work", None, "snapshot"),
        ("ssh", "", None, "none"),
        ("ssh", "work", "here", "here"),
    ],
)
def test_code_of_a_command(
    daemon: ScriptedDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    transport: str, folder: str, given: str | None, code: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("HOME", str(tmp_path))
    daemon.on("GET", "/v1/hosts", {"hosts": [api_host("gpu1", transport)]})
    body: dict[str, Any] = {"command": {"command": ["x"], **({"code": given} if given else {})}}
    chosen = Client(daemon.path).carry_out(choose_code(body, tmp_path / folder))
    assert as_table(chosen["command"])["code"] == code


@pytest.mark.parametrize(("local", "code"), [(True, "here"), (False, "snapshot")])
def test_a_daemon_says_whether_its_machine_is_the_only_host(
    daemon: ScriptedDaemon, tmp_path: Path, *, local: bool, code: str
) -> None:
    daemon.on("GET", "/v1/version", VERSION | {"local": local})
    chosen = Client(daemon.path).carry_out(choose_code({"command": {"command": ["x"]}}, tmp_path))
    assert as_table(chosen["command"])["code"] == code
    assert daemon.requests("GET", "/v1/hosts") == []


def test_variables() -> None:
    assert stage_env(["A=1", "B"], {"B": "2"}) == {"A": "1", "B": "2"}
    for wrong in ("=1", "C"):
        with pytest.raises(InputError):
            stage_env([wrong], {})
    env = {"VIRTUAL_ENV": "/v", "SECRET": "x", "PATH": ""}
    assert shell_env(env) == {"VIRTUAL_ENV": "/v"}


def test_the_folder_keeps_the_name_the_person_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path / "link")
    monkeypatch.setenv("PWD", str(tmp_path / "link"))
    assert current_folder() == tmp_path / "link"
    monkeypatch.setenv("PWD", "/")
    assert current_folder() == tmp_path / "real"


def test_programs_of_the_environment_go_along_by_name(tmp_path: Path) -> None:
    env = tmp_path / "env"
    (env / "bin").mkdir(parents=True)
    for name in ("python", "torchrun", "data"):
        (env / "bin" / name).write_text("")
    for name in ("python", "torchrun"):
        (env / "bin" / name).chmod(0o755)
    environ = {"VIRTUAL_ENV": str(env), "PATH": f"{env}/bin:/usr/bin:/bin"}
    python = f"{env}/bin/python"
    assert env_programs(["python x.py; cat data", "ls"], environ) == {"python": python}
    assert env_programs([f"exec {python}"], environ) == {python: python}
    assert env_programs(["python"], {**environ, "PATH": "/usr/bin"}) == {}  # not activated
    assert env_programs(["python"], {"PATH": f"{env}/bin"}) == {}
    assert env_programs(["python"], {**environ, "VIRTUAL_ENV": "env"}) == {}


def test_no_env_sends_nothing_of_the_shell(
    daemon: ScriptedDaemon, hostler: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = tmp_path / "env"
    (env / "bin").mkdir(parents=True)
    (env / "bin" / "python").write_text("")
    (env / "bin" / "python").chmod(0o755)
    monkeypatch.setenv("VIRTUAL_ENV", str(env))
    monkeypatch.setenv("PATH", f"{env}/bin:/usr/bin:/bin")
    daemon.on("GET", "/v1/hosts", {"hosts": []})
    sentence = f"your environment {env} is not on gpu1: commands use the host's own programs there"
    daemon.on("POST", "/v1/runs", {"run_id": "r7", "dropped_environment": sentence})
    ran = hostler("run", "--code", "none", "--", "python", "x.py")
    assert sentence in ran.err
    sent = daemon.requests("POST", "/v1/runs")[-1].json
    assert sent["programs"] == {"python": f"{env}/bin/python"}
    hostler("run", "--no-env", "--code", "none", "--", "python", "x.py")
    sent = daemon.requests("POST", "/v1/runs")[-1].json
    assert "programs" not in sent
    assert "env" not in sent
    hostler("run", "--venv", "r.txt", "--code", "none", "--", "python", "x.py")
    assert daemon.requests("POST", "/v1/runs")[-1].json["command"]["venv"] == "r.txt"


def test_a_name_that_each_finds_is_never_an_option(
    tmp_path: Path,
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("--config=evil", "a b"):
        (tmp_path / "in" / name).touch()
    assert matching(["*"], tmp_path / "in") == ["./--config=evil", "a b"]
    assert matching(["a b"], tmp_path / "in") == ["a b"]
