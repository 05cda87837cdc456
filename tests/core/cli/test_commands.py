"""The small commands: what they ask the daemon, what they say, how they end."""

from __future__ import annotations

import json
import os
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hostler.base.dates import clock_text
from hostler.cli.follow import LogCopy
from hostler.model.codec import from_answer, to_json
from hostler.model.views.plans import WhyStage
from hostler.model.views.runs import RunSource
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import Answer, Asked, ScriptedDaemon, json_lines
from tests.support.values.api_hosts import api_host
from tests.support.values.fleets import fleet, host
from tests.support.values.run_objects import attempt, kept, run, stage, summary


def error(kind: str, message: str, status: int) -> Answer:
    return Answer({"error": {"kind": kind, "message": message, "remedy": ""}}, status)


@pytest.fixture(autouse=True)
def _gpus(daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/gpus", fleet(host("gpu1", "LL")))
    daemon.on("GET", "/v1/runs/r7", run(stage(status="running"), stage("eval")))
    daemon.on("GET", "/v1/runs/r8", run(stage(), run_id="r8"))


def test_ps_has_a_line_a_stage(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/runs", {"runs": [summary("r8"), summary("gone"), summary("r7")]})
    ran = hostler("ps", "--owner", "ana")
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert [row[0] for row in rows] == ["r7", "r7", "r8"]  # the oldest first
    assert rows[0][2:6] == ["train", "ana", "running", "gpu1:0-1"]
    asked = daemon.requests("GET", "/v1/runs")[0]
    assert asked.query == {"state": "open", "owner": "ana", "limit": "50"}
    assert [r["run_id"] for r in hostler("ps", "--json").json["runs"]] == ["r7", "r8"]


def test_ps_says_when_there_is_nothing(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/runs", {"runs": []})
    assert hostler("ps").out == ""
    assert "no open runs" in hostler("ps", tty=True).err


def test_runs(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    listed = [summary(), summary("r6", "failed", cause="a: OOM", metrics={"accuracy": 0.91})]
    daemon.on("GET", "/v1/history/runs", {"total": 5, "runs": listed})
    ran = hostler("runs", "--state", "failed", "--pipeline", "digits", "--since", "2026-01-02")
    assert [line.split("\t")[0] for line in ran.out.splitlines()] == ["r7", "r6"]
    assert ran.out.splitlines()[1].endswith("a: OOM")
    query = daemon.requests("GET", "/v1/history/runs")[0].query
    assert query["state"] == "failed"
    assert float(query["since"]) == pytest.approx(1767312000, abs=86400)
    assert hostler("runs", "-q").out == "r7\nr6\n"
    assert hostler("runs", "-o", "ids").out == "r7\nr6\n"
    assert hostler("runs", "--json").json["schema"] == "hostler.runs/1"
    assert hostler("runs", "--since", "yesterdayish").code == 2


def test_runs_are_searched(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    listed = [summary("r6", metrics={"accuracy": 0.91})]
    daemon.on("GET", "/v1/history/runs", {"total": 5, "runs": listed})
    words = ["-p", "lr=0.1", "--metric", "accuracy>=0.9", "--sort=-accuracy", "--text", "x y"]
    ran = hostler("runs", *words, tty=True)
    assert "accuracy 0.91" in ran.out
    assert "5 match" in ran.err
    assert daemon.asked[-1].query == {
        "param": "lr=0.1", "metric": "accuracy>=0.9", "sort": "-accuracy", "text": "x y",
        "limit": "30", "offset": "0",
    }  # fmt: skip


def test_a_sort_by_what_no_run_has_is_told(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    listed = [summary("r6", metrics={"accuracy": 0.91}, params={"lr": 1}),
              summary("r5", metrics={}, params={})]  # fmt: skip
    daemon.on("GET", "/v1/history/runs", {"total": 2, "runs": listed})
    for name in ("accuracy", "-lr", "took", "-finished"):
        assert hostler("runs", f"--sort={name}").err == ""
    ran = hostler("runs", "--sort=-acuracy")
    assert (ran.code, ran.out.count("\n")) == (0, 2)
    assert "not sorted: these runs have no metric or parameter 'acuracy'" in ran.err
    assert hostler("runs", "--sort=-acuracy", "-q").err == ""


def test_show(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    assert hostler("show", "r7").out.splitlines()[0].split("\t")[:3] == ["train", "running", "1"]
    shown = hostler("show", "r7", "--json").json
    assert shown["schema"] == "hostler.run/1"
    source = {"git_commit": "a" * 40, "git_branch": "main", "git_dirty": True}
    daemon.on(
        "GET", "/v1/runs/r9", run(source=source, params={"lr": 1, "big": False}, retry_of="r1")
    )
    header = hostler("show", "r9", tty=True).out
    assert "code: aaaaaaaaaaaa (main) with changes" in header
    assert "params: lr=1 big=false" in header
    assert "repeats r1" in header
    assert hostler("show", "zz").code == 2


def test_ls_has_no_date_of_files_that_came_with_the_source(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    """They are packed with one date, of 1980."""
    entries = [
        {"path": "train.py", "kind": "file", "size": 5, "mtime": 315_619_200.0},
        {"path": "model.pt", "kind": "file", "size": 5, "mtime": 1_795_957_000.0},
    ]
    place = {"stage": "train", "attempt_id": "r7-train-1", "where": "running"}
    daemon.on("GET", "/v1/runs/r7/ls/train", {**place, "entries": entries, "truncated": False})
    rows = [line.split("\t") for line in hostler("ls", "r7/train").out.splitlines()]
    assert rows[0] == ["train.py", "5 B", ""]
    assert rows[1][2] != ""


def test_show_sorts_cells_by_a_metric(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    """The best cell of a sweep is the first."""
    values = {"train.0": {"loss": 0.5}, "train.1": {"loss": 0.25}, "train.2": {}}
    stages = [
        stage(name, "succeeded", attempt=attempt("succeeded", metrics=metrics))
        for name, metrics in values.items()
    ]
    daemon.on("GET", "/v1/runs/r9", run(*stages, run_id="r9"))

    def names(sort: str) -> list[str]:
        return [line.split("\t")[0] for line in hostler("show", "r9", sort).out.splitlines()]

    assert names("--sort=loss") == ["train.1", "train.0", "train.2"]
    assert names("--sort=-loss") == ["train.0", "train.1", "train.2"]
    ran = hostler("show", "r9", "--sort=acuracy", tty=True)
    assert ran.out == ""
    assert ran.code == 2
    assert "no stage of run r9 has a metric 'acuracy'" in ran.err
    assert "loss" in ran.err


def test_show_gives_the_patch_of_a_run(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    source = {"git_commit": "a" * 40, "git_dirty": True, "git_diff": "+x\x1b[2J\r\n+y\n"}
    daemon.on("GET", "/v1/runs/r7/source", source)
    assert hostler("show", "r7", "--diff").out == source["git_diff"]
    assert hostler("show", "r7", "--diff", tty=True).out == "+x␛[2J\n+y\n"
    assert hostler("show", "r7", "--diff", "--json").json == {
        "schema": "hostler.source/1", **to_json(from_answer(RunSource, source)),
    }  # fmt: skip
    daemon.on("GET", "/v1/runs/r7/source", {**source, "git_diff": None})
    assert "its code equals the commit" in hostler("show", "r7", "--diff", tty=True).err


def test_why(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    reason = {"sentence": "s", "hosts": [{"host": "gpu1", "sentence": "held by bo"}],
              "nearest": "1 GPU on gpu1"}  # fmt: skip
    stages = [
        {
            "name": "a",
            "label": "a",
            "status": "running",
            "sentence": "running on gpu1",
            "reason": None,
        },
        {"name": "b", "label": "b", "status": "waiting", "sentence": "s", "reason": reason},
    ]
    daemon.on("GET", "/v1/runs/r7/why", {"run_id": "r7", "stages": stages})
    assert hostler("why", "r7").out == (
        "a: running on gpu1\nb: s\n  gpu1: held by bo\n  would start now: 1 GPU on gpu1\n"
    )
    hostler("why", "r7/b")
    assert daemon.requests("GET", "/v1/runs/r7/why")[1].query == {"stage": "b"}
    assert hostler("why", "r7", "--json").json["stages"] == [
        to_json(from_answer(WhyStage, told)) for told in stages
    ]
    assert hostler("why", "r7/").code == 2


def test_logs_of_the_stage_that_started(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/runs/r7/logs/train", Answer(parts=[b"a\n", b"loss=1\n"]))
    assert hostler("logs", "r7").out == "a\nloss=1\n"
    assert hostler("logs", "r7/train", "--grep", "loss").out == "loss=1\n"
    hostler("logs", "r7", "--stage", "train", "--tail", "5", "--attempt", "1", "-f")
    queries = [asked.query for asked in daemon.requests("GET", "/v1/runs/r7/logs/train")]
    assert queries == [{"attempt": "1"}, {"attempt": "1"},
                       {"attempt": "1", "tail": "5", "follow": "1"}]  # fmt: skip
    hostler("logs", "r7", "--offset", "3", "--length", "2")
    assert daemon.asked[-1].query == {"attempt": "1", "offset": "3", "length": "2"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["r7/eval"], "has not started"),
        (["r7/nope"], "no stage 'nope'"),
        (["r9", "-f"], "Name one, like hostler logs r7/a.0: a.0, a.1"),
        (["r9/a"], "Name one: a.0, a.1"),
        (["r7", "--grep", "["], "not a regular expression"),
        (["r7", "--tail", "-1"], "not a whole number"),
        (["r7", "--tail", "1", "--offset", "1"], "--offset and --tail cannot be combined"),
        (["r7", "-f", "--length", "1"], "cannot be combined with --follow"),
    ],
)
def test_logs_say_what_to_choose_from(
    hostler: CommandLine, daemon: ScriptedDaemon, words: list[str], says: str
) -> None:
    daemon.on("GET", "/v1/runs/r9", run(stage("a.0", "running"), stage("a.1", "running")))
    ran = hostler("logs", *words)
    assert ran.code == 2
    assert says in ran.err


def test_events(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    event = {"seq": 1, "at": 0.0, "kind": "host.lost", "message": "gpu1\tgone\x1b[2J",
             "severity": "warning"}  # fmt: skip
    lines = json_lines({"event": event}, {}, {"run": run()})
    daemon.on("GET", "/v1/events", Answer(parts=lines))
    daemon.on("GET", "/v1/runs/r7/events", Answer(parts=lines))
    ran = hostler("events", "--after", "5", "--limit", "9", "-f")
    fields = ran.out.rstrip("\n").split("\t")
    assert fields[1:] == ["warning", "host.lost", "gpu1 gone␛[2J"]
    assert daemon.asked[-1].query == {"after": "5", "limit": "9", "follow": "1"}
    made = json.loads(hostler("events", "--run", "r7", "--json").out)
    assert (made["schema"], made["kind"]) == ("hostler.event/1", "host.lost")


@pytest.mark.parametrize(
    ("message", "actor", "shown"),
    [
        ("gpu1 drained: new PSU", "bo", "gpu1 drained: new PSU (by bo)"),
        ("bo cancels run r7", "bo", "bo cancels run r7"),
        ("boxes arrived", "bo", "boxes arrived (by bo)"),
        ("gpu1 answers again", None, "gpu1 answers again"),
    ],
)
def test_an_event_says_who_did_it(
    hostler: CommandLine, daemon: ScriptedDaemon, message: str, actor: str | None, shown: str
) -> None:
    event = {"seq": 1, "at": 0.0, "kind": "x", "message": message, "actor": actor}
    daemon.on("GET", "/v1/events", Answer(parts=json_lines({"event": event})))
    assert hostler("events").out.rstrip("\n").split("\t")[-1] == shown


def test_events_of_one_host(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    told = [
        {"event": {"seq": n, "at": 0.0, "kind": "x", "message": "", "host": f"gpu{n % 2}"}}
        for n in range(1, 7)
    ]
    daemon.on("GET", "/v1/events", Answer(parts=json_lines(told[0])))
    assert hostler("events", "--host", "gpu1").code == 0
    assert daemon.asked[-1].query["host"] == "gpu1"
    daemon.on("GET", "/v1/runs/r7/events", Answer(parts=json_lines(*told, {"run": run()})))
    lines = hostler("events", "--run", "r7", "--host", "gpu1", "--json", "--limit", "2").out
    assert [json.loads(line)["seq"] for line in lines.splitlines()] == [3, 5]


def test_a_followed_run_begins_with_its_latest_events(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    def tell(asked: Asked) -> Answer:
        after = int(asked.query.get("after", 0))
        last = 7 if "follow" in asked.query else 5
        lines = [
            {"event": {"seq": n, "at": 0.0, "kind": "x", "message": ""}}
            for n in range(after + 1, last + 1)
        ]
        return Answer(parts=json_lines(*lines, {"run": run()}))

    daemon.on("GET", "/v1/runs/r7/events", tell)
    lines = hostler("events", "--run", "r7", "-f", "--limit", "2", "--json").out.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [4, 5, 6, 7]


def test_events_of_a_run_are_limited_too(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    told = [{"event": {"seq": n, "at": 0.0, "kind": "x", "message": ""}} for n in range(1, 6)]
    daemon.on("GET", "/v1/runs/r7/events", Answer(parts=json_lines(*told, {"run": run()})))

    def numbers(*words: str) -> list[int]:
        lines = hostler("events", "--run", "r7", "--json", *words).out.splitlines()
        return [json.loads(line)["seq"] for line in lines]

    assert numbers() == [1, 2, 3, 4, 5]
    assert numbers("--limit", "2") == [4, 5]
    assert numbers("--limit", "2", "--after", "0") == [1, 2]


def test_waiting_for_runs(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    ends = {
        "r7": run(stage(status="succeeded"), outcome="succeeded"),
        "r8": run(stage(status="failed", attempt=attempt(cause="user error")), outcome="failed",
                  run_id="r8"),
    }  # fmt: skip
    for run_id, end in ends.items():
        daemon.on("GET", f"/v1/runs/{run_id}/events", Answer(parts=json_lines({"run": end})))
    assert hostler("wait", "r7").code == 0
    ran = hostler("wait", "r7", "r8")
    assert ran.code == 6
    assert "r8 failed" in ran.err
    assert len(hostler("wait", "r7", "r8", "--json").json["runs"]) == 2
    daemon.asked.clear()
    assert hostler("wait", "r7", "nope").code == 2
    assert daemon.requests("GET", "/v1/runs/r7/events") == []


def test_waiting_has_a_deadline(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    never = threading.Event()
    answer = Answer(parts=[*json_lines({"run": run()}), never])
    daemon.on("GET", "/v1/runs/r7/events", answer)
    ran = hostler("wait", "r7", "--timeout", "30ms")
    never.set()
    assert ran.code == 8


def test_cancelling_one_does_not_ask_several_do(
    hostler: CommandLine, daemon: ScriptedDaemon, terminal: Any
) -> None:
    daemon.on("POST", "/v1/runs/r7/cancel", run())
    daemon.on("POST", "/v1/runs/r8/cancel", error("ConflictError", "r8 has ended", 409))
    assert hostler("cancel", "r7").out == "r7: cancelling\n"
    refused = hostler("cancel", "r7", "r8")
    assert refused.code == 2
    assert "Add -y" in refused.err
    terminal("\n")  # Enter is no
    assert hostler("cancel", "r7", "r8", tty=True).code == 130
    assert len(daemon.requests("POST", "/v1/runs/r7/cancel")) == 1
    ran = hostler("cancel", "r8", "r7", "-y")  # one that fails keeps no other from its turn
    assert (ran.code, ran.out) == (2, "r7: cancelling\n")
    assert "r8 has ended" in ran.err


def test_a_priority_is_lowered(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    path = "/v1/runs/r7/priority"
    daemon.on("POST", path, run(priority=-5))
    assert hostler("priority", "r7", "-5").out == "r7: priority -5\n"
    assert daemon.requests("POST", path)[0].json == {"priority": -5}
    daemon.on("POST", path, error("InputError", "it can only go down", 400))
    refused = hostler("priority", "r7", "-1")
    assert refused.code == 2
    assert "it can only go down" in refused.err
    raised = hostler("priority", "r7", "3")
    assert raised.code == 2
    assert raised.err == "hostler: a priority can only be lowered. Use 0 or less\n"
    assert hostler("priority", "r7", "much").code == 2


def test_removing_asks(hostler: CommandLine, daemon: ScriptedDaemon, terminal: Any) -> None:
    daemon.on("GET", "/v1/runs/r7", run(outcome="succeeded"))
    daemon.on("DELETE", "/v1/runs/r7", {"removed": "r7"})
    daemon.on("GET", "/v1/runs/r7/kept", kept())
    assert hostler("rm", "r7").code == 2
    terminal("n\n")
    assert hostler("rm", "r7", tty=True).code == 130
    assert daemon.requests("DELETE", "/v1/runs/r7") == []
    terminal("yes\n")
    ran = hostler("rm", "r7", tty=True)
    assert ran.code == 0
    assert "digits by ana" in ran.err
    assert hostler("rm", "r7", "-y").out == "r7: removed\n"
    assert hostler("rm", "-y", "r7", "r7").out == "r7: removed\n"


def test_no_run_is_removed_where_one_has_not_ended(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    daemon.on("GET", "/v1/runs/r6", run(outcome="failed", run_id="r6"))
    ran = hostler("rm", "-y", "r6", "r7")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "hostler: r7 has not ended. Cancel first: hostler cancel r7\n"
    assert "r7, r8 have not ended" in hostler("rm", "-y", "r6", "r7", "r8").err
    assert daemon.requests("DELETE", "/v1/runs/r6") == []


def test_freeing_space_asks(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    answer = {
        "dry_run": True, "freed": 3 * 2**30, "runs": [], "hosts": {},
        "logs": {"runs": ["r1"], "bytes": 2**30}, "content": {"blobs": 2, "bytes": 2**31},
    }  # fmt: skip
    daemon.on("POST", "/v1/gc", answer)
    ran = hostler("gc", "-n")
    assert ran.out == (
        "1 log: 1 GiB\n2 packed sources or outputs: 2 GiB\n3 GiB would be freed here\n"
    )
    assert [asked.json for asked in daemon.requests("POST", "/v1/gc")] == [{"dry_run": True}]
    assert hostler("gc").code == 2
    swept = {"gpu1": {"freed": 2**20, "checkpoints": 1}, "gpu2": {"error": "gpu2: cut"}}
    daemon.on("POST", "/v1/gc", {**answer, "hosts": swept})
    assert hostler("gc", "-y").out.splitlines()[2:] == [
        "gpu1: 1 MiB of caches, 1 checkpoint",
        "gpu2: nothing freed: gpu2: cut",
        "3 GiB freed here",
    ]
    assert daemon.requests("POST", "/v1/gc")[-1].json == {"dry_run": False}
    assert hostler("gc", "-n", "--json").json["freed"] == 3 * 2**30
    daemon.on("POST", "/v1/gc", {"dry_run": True, "freed": 0, "runs": [], "logs": {}})
    assert hostler("gc", "-n").out == "there is nothing to free here\n"
    daemon.on("POST", "/v1/gc", {"dry_run": True, "freed": 0, "hosts": {"gpu2": {"error": "cut"}}})
    nothing = hostler("gc")  # in a pipe, where nobody can be asked
    assert (nothing.code, nothing.err) == (0, "")
    assert nothing.out == "gpu2: nothing freed: cut\nthere is nothing to free here\n"
    assert daemon.requests("POST", "/v1/gc")[-1].json == {"dry_run": False}


def test_what_a_removed_run_leaves_for_an_hour_is_explained(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    young = {"blobs": 2, "bytes": 3 * 2**20, "until": 1764000000.0}
    daemon.on("POST", "/v1/gc", {"dry_run": True, "freed": 0, "young": young})
    lines = hostler("gc").out.splitlines()
    assert lines[0].startswith(
        "2 packed sources or outputs (3 MiB) that no run needs arrived within"
    )
    assert clock_text(1764000000.0) in lines[0]
    assert lines[1:] == ["there is nothing to free here"]


def test_retry_and_rerun_print_the_new_id(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    daemon.on("POST", "/v1/runs/r7/retry", Answer(run(run_id="r9"), 201))
    plan = {"schema": "hostler.retry/1", "run_id": "r7", "params": {}, "stages": []}
    daemon.on("POST", "/v1/runs/r7/retry/plan", plan)
    daemon.on("POST", "/v1/runs/r7/rerun", Answer(run(run_id="r9"), 201))
    assert hostler("retry", "r7").out == "r9\n"
    assert hostler("retry", "r7", "--json").json["run_id"] == "r9"
    assert hostler("rerun", "r7", "--same-code").out == "r9\n"
    assert daemon.requests("POST", "/v1/runs/r7/rerun")[0].json == {"source": None}


def test_rerun_takes_todays_code(
    hostler: CommandLine, daemon: ScriptedDaemon, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/train.py").write_text("new")
    old = run(uid=os.geteuid(), source={"digest": "0" * 64, "path": str(tmp_path / "code")})
    daemon.on("GET", "/v1/runs/r7", old)
    daemon.on("POST", "/v1/runs/r7/rerun", Answer(run(run_id="r9"), 201))
    daemon.on("POST", "/v1/check", {"source_size": 1 << 20, "source_file": 1 << 20})
    daemon.on("HEAD", "/v1/snapshots/*", Answer(status=404))
    daemon.on("PUT", "/v1/snapshots/*", {})
    ran = hostler("rerun", "r7")
    assert (ran.code, ran.out) == (0, "r9\n")
    assert [asked.method for asked in daemon.asked if "snapshots" in asked.path] == [
        "HEAD", "HEAD", "PUT",
    ]  # fmt: skip
    source = daemon.requests("POST", "/v1/runs/r7/rerun")[0].json["source"]
    assert source["path"] == str(tmp_path / "code")
    assert source["digest"] != "0" * 64


def test_rerun_without_the_folder_says_so(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    old = run(source={"digest": "0" * 64, "path": "/not/here"})
    daemon.on("GET", "/v1/runs/r7", old)
    ran = hostler("rerun", "r7")
    assert ran.code == 2
    assert "--same-code" in ran.err


def test_draining(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    daemon.on("POST", "/v1/hosts/a/drain", {})
    daemon.on("POST", "/v1/hosts/a/undrain", {})
    daemon.on("GET", "/v1/hosts/a", api_host("a", "ssh"))
    ran = hostler("drain", "a", "--reason", "PSU")
    assert (ran.code, ran.out[:10]) == (0, "a: drained")
    assert daemon.requests("POST", "/v1/hosts/a/drain")[0].json == {"reason": "PSU"}
    assert hostler("undrain", "a").out == "a: accepts work again\n"


@pytest.mark.parametrize("command", ["drain", "undrain"])
def test_no_host_is_changed_where_one_is_not_there(
    hostler: CommandLine, daemon: ScriptedDaemon, command: str
) -> None:
    daemon.on("POST", f"/v1/hosts/a/{command}", {})
    daemon.on("GET", "/v1/hosts/a", api_host("a", "ssh"))
    ran = hostler(command, "a", "nope")
    assert (ran.code, ran.out) == (2, "")
    assert "nope" in ran.err
    assert daemon.requests("POST", f"/v1/hosts/a/{command}") == []


def test_hosts(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    machine = {"load1": 1.25, "memory_total": 2**34,
               "disks": [{"path": "/", "total": 2**41, "free": 2**40}]}  # fmt: skip
    look = {"asked_at": 0.0, "boot_id": "b", "docker_problem": "no docker", "machine": machine,
            "gpus": [{"uuid": "GPU-0", "index": 0}, {"uuid": "GPU-1", "index": 1}]}  # fmt: skip
    up = {**api_host("a", "ssh"), "look": look, "drained": "",
          "facts": {"cpus": 8, "driver": "580.95"}}  # fmt: skip
    dead = {**api_host("b", "ssh"), "condition": "unreachable", "problem": "timed out"}
    daemon.on("GET", "/v1/hosts", {"hosts": [up, dead]})
    rows = [line.split("\t") for line in hostler("hosts").out.splitlines()]
    assert rows[0][3:9] == ["2", "8", "16 GiB", "1.2", "1 TiB", "580.95"]
    assert rows[0][-1] == "drained; no docker"
    assert rows[1][-1].startswith("timed out; for ")
    assert len(hostler("hosts", "b*", "--json").json["hosts"]) == 1
    answers = iter([{"hosts": [{**dead, "condition": "connecting"}]}])  # it has just started
    daemon.on("GET", "/v1/hosts", lambda _: Answer(next(answers, {"hosts": [up]})))
    assert [host["name"] for host in hostler("hosts", "--json").json["hosts"]] == ["a"]


def test_versions(hostler: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "daemon: 999.0 at" in hostler("version").out
    assert hostler("version", "--json").json["daemon"]["version"] == "999.0"
    monkeypatch.setenv("HOSTLER_SOCKET", "/nowhere")
    assert "daemon: not running" in hostler("version").out


def test_config_show(hostler: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[hosts."g[1-2]"]\n[limits]\nlog_size = "1MiB"\n[mounts.data]\npath = "/data"\n'
        '[shared]\npaths = ["/nfs"]\n[docker]\nnetwork = "host"\n'
    )
    text = hostler("config", "show").out
    shown = tomllib.loads(text)
    assert list(shown["hosts"]) == ["g1", "g2"]
    assert shown["limits"]["log_size"] == "1MiB"
    told = hostler("config", "show", "--json").json["config"]
    assert told["limits"]["log_size"] == 2**20
    assert told["mounts"] == {"data": {"path": "/data", "read_only": True, "default": False}}
    assert (told["shared_paths"], told["docker_network"]) == (["/nfs"], "host")
    assert not {"shared", "docker", "docker_shm"} & told.keys()
    (tmp_path / "config.toml").write_text(text)
    assert hostler("config", "show").out == text
    assert hostler("config", "show", "--json").json["config"] == told
    assert f"config: {tmp_path}/config.toml" in hostler("config", "show", "--origin").out
    (tmp_path / "config.toml").write_text("[limit]\n[hosts.a]\nprot = 3\n")
    ran = hostler("config", "show")
    assert ran.code == 2
    assert "limit" in ran.err
    assert "prot" in ran.err


@pytest.mark.parametrize("name", ["pipeline", "config"])
def test_schemas_are_json(hostler: CommandLine, name: str) -> None:
    assert "properties" in hostler("schema", name).json


def test_home_in_a_pipe_is_a_status(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/runs", {"runs": [summary(), summary("gone")]})
    lines = hostler().out.splitlines()
    assert lines[0].split("\t")[0] == "gpu1"
    assert lines[1] == "0 of 2 free on 1 host"
    assert lines[2] == "r7 digits by ana: 0 of 2 succeeded, 1 running, 1 waiting"
    assert lines[3].startswith("gone digits by ana: no /v1/runs/gone")
    daemon.on("GET", "/v1/runs", {"runs": []})
    assert hostler().out.endswith("no runs are open\n")


def test_a_daemon_of_another_api_is_told(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/version", {"version": "9.0", "api": 2})
    ran = hostler("runs")
    assert ran.code == 1
    assert "Upgrade hostler here" in ran.err


def test_leaving_a_log_says_that_the_run_goes_on(
    hostler: CommandLine, daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_copy: LogCopy) -> None:
        raise KeyboardInterrupt

    daemon.on("GET", "/v1/runs/r7", run(stage("train", "running")))
    monkeypatch.setattr(LogCopy, "follow", interrupted)
    ran = hostler("logs", "-f", "r7")
    assert (ran.code, ran.err) == (130, "detached; r7 continues\n")
    assert hostler("logs", "-f", "r7", tty=True).err == "\ndetached; r7 continues\n"
