"""`hostler retry` and what is said of its stages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hostler.model.codec import from_answer
from hostler.model.views.plans import RetryView
from hostler.model.views.runs import RunDetail
from hostler.quick.socket import Found
from hostler.show.provenance import kept_lines
from hostler.show.retry import retry_lines
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import Answer, ScriptedDaemon
from tests.support.values.run_objects import attempt, run, stage

PIPELINE = """
[stages.a]
command = ["true"]
"""


def planned(name: str, why: str = "", **more: Any) -> dict[str, Any]:
    kept = {} if why else {"kept_from": "r1"}
    return {"name": name, "label": name, "base": name.split(".")[0], "kept": not why, "why": why,
            "kept_from": None, "anew": False, **kept, **more}  # fmt: skip


def plan(*stages: dict[str, Any], **params: dict[str, Any]) -> dict[str, Any]:
    return {"schema": "hostler.retry/1", "run_id": "r7", "pipeline": "p", "params": params,
            "stages": list(stages), "snapshot": True, "source_size": 1 << 20,
            "source_file": 1 << 20}  # fmt: skip


def made(*stages: dict[str, Any], **params: dict[str, Any]) -> RetryView:
    return from_answer(RetryView, plan(*stages, **params))


def test_what_is_said_before() -> None:
    cells = [planned(f"train.{n}") for n in range(4)]
    found = retry_lines(
        made(
            planned("prepare"), *cells, planned("tune.0"), planned("tune.1", "it failed"),
            planned("last", "it needs tune.1", anew=True),
            lr={"before": 0.1, "now": 0.2}, fast={"before": None, "now": True},
            old={"before": 1, "now": None},
        )
    )  # fmt: skip
    assert found == [
        "kept: prepare; train, 4 cells; tune.0",
        "runs again: tune.1 (it failed); last (it needs tune.1)",
        "begins without its checkpoint: last",
        "lr = 0.2 (was 0.1)",
        "fast = true (new)",
        "old: the pipeline file has no such parameter any more",
    ]
    many = retry_lines(made(*(planned(f"s{n}", "it failed") for n in range(30))))
    assert many[0] == "kept: nothing"
    assert many[1].endswith("s19 (it failed); and 10 more")


def test_where_kept_stages_come_from() -> None:
    source = {"digest": "d" * 64, "git_commit": "c" * 40, "git_branch": "main", "git_dirty": True}
    of = run(
        stage("a", "succeeded", kept=True, attempt=attempt("succeeded", run_id="r1")),
        stage("b", "succeeded", kept=True, attempt=attempt("succeeded", run_id="r2")),
        stage("c"),
        params={"lr": 0.2, "n": 1},
        origins={"r1": {"source": source, "params": {"lr": 0.1, "n": 1}}},
    )
    assert kept_lines(of) == [
        f"kept from r1: a; code {'c' * 12} (main) with changes, snapshot {'d' * 12}; params lr=0.1",
        "kept from r2: b",
    ]


@pytest.fixture
def folder(daemon: ScriptedDaemon, tmp_path: Path) -> Path:
    made = tmp_path / "code"
    made.mkdir()
    (made / "train.py").write_text("new")
    (made / "exam.toml").write_text("the file")
    source = {"digest": "0" * 64, "path": str(made)}
    old = run(source=source, file="exam.toml", uid=os.geteuid())
    daemon.on("GET", "/v1/runs/r7", old)
    daemon.on("POST", "/v1/runs/r7/retry", Answer(run(run_id="r9"), 201))
    daemon.on("POST", "/v1/runs/r7/retry/plan", plan(planned("a", "it failed")))
    daemon.on("HEAD", "/v1/snapshots/*", Answer(status=404))
    daemon.on("PUT", "/v1/snapshots/*", {})
    return made


def test_new_code_is_planned_before_it_is_sent(
    hostler: CommandLine, daemon: ScriptedDaemon, folder: Path
) -> None:
    ran = hostler("retry", "r7", "--new-code", "-p", "lr=0.1", "--from", "a")
    assert (ran.code, ran.out) == (0, "r9\n")
    asked = daemon.requests("POST", "/v1/runs/r7/retry/plan")[0].json
    expected = {"params": {"lr": "0.1"}, "from": ["a"], "pipeline": "the file", "file": "exam.toml"}
    assert asked == {**expected, "source": {"path": str(folder)}}
    made = daemon.requests("POST", "/v1/runs/r7/retry")[0].json
    assert made["source"]["path"] == str(folder)
    assert len(made.pop("source")["digest"]) == 64
    assert made == expected
    paths = [asked.path for asked in daemon.asked]
    plan_at = paths.index("/v1/runs/r7/retry/plan")
    assert all("snapshots" not in path for path in paths[:plan_at])


def test_a_plan_sends_nothing(hostler: CommandLine, daemon: ScriptedDaemon, folder: Path) -> None:
    assert hostler("retry", "r7", "--new-code", "--plan").out == "a\truns again\tit failed\n"
    assert hostler("retry", "r7", "--plan", "--json").json["stages"][0]["why"] == "it failed"
    assert daemon.requests("POST", "/v1/runs/r7/retry") == []
    assert [asked for asked in daemon.asked if "snapshots" in asked.path] == []


def test_both_are_in_the_answer_for_scripts(
    hostler: CommandLine, daemon: ScriptedDaemon, folder: Path
) -> None:
    ran = hostler("retry", "r7", "--json")
    assert (ran.json["run_id"], ran.err) == ("r9", "")
    assert ran.json["plan"][0]["why"] == "it failed"
    assert hostler("retry", "r7", "-q").err == ""
    assert daemon.requests("POST", "/v1/runs/r7/retry")[0].json == {"params": {}, "from": []}


def test_no_code_is_sent_that_nobody_takes(
    hostler: CommandLine, daemon: ScriptedDaemon, folder: Path
) -> None:
    found = {**plan(planned("a", "it failed")), "snapshot": False}
    daemon.on("POST", "/v1/runs/r7/retry/plan", found)
    assert hostler("retry", "r7", "--new-code").code == 0
    assert daemon.requests("POST", "/v1/runs/r7/retry")[0].json["source"] == {"path": str(folder)}
    assert [asked for asked in daemon.asked if "snapshots" in asked.path] == []


@pytest.mark.parametrize("words", [("retry", "r7", "--new-code"), ("rerun", "r7")])
def test_nobody_sends_files_for_a_run_of_somebody_else(
    hostler: CommandLine, daemon: ScriptedDaemon, folder: Path, words: tuple[str, ...]
) -> None:
    """A member chose the folder, the command, and `include`; root runs it once more."""
    source = {"digest": "0" * 64, "path": str(folder), "include": [".ssh/id_rsa"]}
    daemon.on("GET", "/v1/runs/r7", run(source=source, uid=os.geteuid() + 1, owner="bo"))
    ran = hostler(*words)
    assert ran.code != 0
    assert "r7 is a run of bo: only bo can send its code" in ran.err
    assert [asked.method for asked in daemon.asked if asked.method != "GET"] == []


@pytest.mark.parametrize("words", [("retry", "r7", "--new-code"), ("rerun", "r7")])
def test_the_daemon_of_another_user_gets_only_what_was_sent_to_it(
    hostler: CommandLine,
    daemon: ScriptedDaemon,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    """It names the folder, the file and what to include: all of it may be made up."""
    monkeypatch.setattr(Found, "is_own", False)

    def of(path: Path, file: str, *include: str) -> RunDetail:
        source = {"digest": "0" * 64, "path": str(path), "include": [*include]}
        return run(source=source, file=file, uid=os.geteuid())

    good, with_secret = of(folder, "exam.toml"), of(folder, "exam.toml", ".env")
    for one in (good, of(folder.parent, "exam.toml"), of(folder, ".netrc"), with_secret):
        daemon.on("GET", "/v1/runs/r7", one)
        ran = hostler(*words)
        assert ran.code == 2
        assert f"belongs to another user and asks for {one.source.path} (" in ran.err
    assert [asked.method for asked in daemon.asked if asked.method != "GET"] == []
    (folder / "exam.toml").write_text(PIPELINE)
    daemon.on("POST", "/v1/check", {**plan(), "stages": 1})
    daemon.on("POST", "/v1/runs", Answer(run(run_id="r7"), 201))
    daemon.on("POST", "/v1/runs/r7/rerun", Answer(run(run_id="r9"), 201))
    assert hostler("run", "-d", str(folder / "exam.toml")).code == 0
    daemon.on("GET", "/v1/runs/r7", good)
    ran = hostler(*words)
    assert (ran.code, ran.out) == (0, "r9\n"), ran.err
    daemon.on("GET", "/v1/runs/r7", with_secret)
    assert hostler(*words).code == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make what others own")
@pytest.mark.parametrize("kind", ["folder", "link"])
@pytest.mark.parametrize("words", [("retry", "r7", "--new-code"), ("rerun", "r7")])
def test_a_folder_that_somebody_else_put_there_is_not_sent(
    hostler: CommandLine,
    daemon: ScriptedDaemon,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    kind: str,
) -> None:
    if kind == "link":
        folder.rename(folder.with_name("elsewhere"))
        folder.symlink_to(folder.with_name("elsewhere"))
    os.chown(folder, 4321, 4321, follow_symlinks=False)
    ran = hostler(*words)
    assert ran.code != 0
    assert f"{folder} belongs to uid 4321 now" in ran.err
    assert f"cd {folder}" in ran.err
    assert [asked for asked in daemon.asked if "snapshots" in asked.path] == []
    if words[0] == "retry":  # who stands in it has seen it
        monkeypatch.chdir(folder)
        assert hostler(*words).code == 0


def test_a_value_that_is_brought_along_is_in_no_parameter(
    daemon: ScriptedDaemon, hostler: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_sesame_open")
    daemon.on("GET", "/v1/runs/r7", run(outcome="failed"))
    said = hostler("retry", "r7", "--secret", "HF_TOKEN", "-p", "note=is hf_sesame_open")
    assert said.code == 2
    assert "the value of the secret HF_TOKEN is in the command" in said.err
    assert daemon.requests("POST", "/v1/runs/r7/retry") == []
