from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.cli import follow
from hostler.model.codec import from_answer, to_json, view_of
from hostler.model.plans import PreviewLine
from hostler.model.views.runs import NewRun, RunView
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import (
    VERSION,
    Answer,
    Asked,
    ScriptedDaemon,
    json_lines,
)
from tests.support.values.fleets import fleet, host
from tests.support.values.run_objects import attempt, run, stage

PIPELINE = '[stages.a]\ncommand = "true"\ncode = "none"\n'
FAILED = run(
    stage(status="failed", attempt=attempt("failed", cause="user error", exit_code=42)),
    outcome="failed",
)
DONE = run(stage(status="succeeded", attempt=attempt("succeeded", duration=3.0)),
           outcome="succeeded")  # fmt: skip


@pytest.fixture(autouse=True)
def _daemon(daemon: ScriptedDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "TICK", 0.01)
    monkeypatch.chdir(tmp_path)
    Path("pipeline.toml").write_text(PIPELINE)
    daemon.on("GET", "/v1/gpus", fleet(host("gpu1", "..")))
    daemon.on("GET", "/v1/version", VERSION | {"local": True, "gpus": 2})
    daemon.on("POST", "/v1/runs", Answer(run(), 201))
    daemon.on("POST", "/v1/runs/r7/cancel", run(cancelled_by="ana"))
    daemon.on("GET", "/v1/runs/r7/logs/train", Answer(parts=[b"hello\n", b"\x1b[2Jworld\n"]))
    stream(daemon, run(), run(stage(status="running")), DONE)


def stream(daemon: ScriptedDaemon, *runs: RunView) -> None:
    lines = json_lines(*({"run": entry} for entry in runs))
    daemon.on("GET", "/v1/runs/r7/events", Answer(parts=lines))


def submitted(daemon: ScriptedDaemon) -> Any:
    return daemon.requests("POST", "/v1/runs")[-1].json


def test_in_a_pipe_the_id_is_all(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    ran = hostler("run", "-p", "lr=0.1", "-p", "note=a=b", "--title", "first")
    assert (ran.code, ran.out, ran.err) == (0, "r7\n", "")
    body = submitted(daemon)
    assert body["pipeline"] == PIPELINE
    assert body["file"] == "pipeline.toml"
    assert body["params"] == {"lr": "0.1", "note": "a=b"}
    assert body["title"] == "first"
    assert body["source"] == {"path": str(Path.cwd())}
    assert "PATH" in body["env"]
    assert daemon.requests("GET", "/v1/runs/r7/events") == []


def test_what_no_host_can_take_is_said_at_once(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    sentence = "no host can take train as requested: nearest gpu1: has no GPUs"
    daemon.on("POST", "/v1/runs", Answer({**to_json(run()), "no_host": sentence}, 201))
    said = f"{sentence}; hostler why r7\n"
    for flags in (["-d"], ["--wait"]):
        ran = hostler("run", *flags)
        assert (ran.code, said in ran.err) == (0, True)
        assert hostler("run", *flags, "-q").err == ""
    assert hostler("run", "-d").out == "r7\n"


def test_json_is_the_run(hostler: CommandLine) -> None:
    assert hostler("run", "--json").json == to_json(view_of(NewRun, run()))


def test_waiting_follows_with_lines(hostler: CommandLine) -> None:
    ran = hostler("run", "--wait")
    assert ran.code == 0
    assert ran.out == "train: running on gpu1:0-1\ntrain: succeeded on gpu1:0-1 after 3s\n"
    assert ran.err == "r7\nr7 succeeded after 3m12s\n"


def test_gpus_have_their_numbers_though_the_daemon_has_just_started(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    new = fleet(host("gpu1", "", condition="connecting", age_s=None))
    answers = iter([new, new])
    daemon.on("GET", "/v1/gpus", lambda _: Answer(next(answers, fleet(host("gpu1", "..")))))
    ran = hostler("run", "--wait")
    assert ran.out == "train: running on gpu1:0-1\ntrain: succeeded on gpu1:0-1 after 3s\n"
    answers = iter([new, new])
    daemon.on("GET", "/v1/runs/r7", run(stage(status="running")))
    assert "gpu1:0-1" in hostler("show", "r7").out


def test_gpus_of_a_silent_host_are_counted(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    one = stage(status="running", attempt=attempt(gpus=["GPU-x"]))
    daemon.on("GET", "/v1/runs/r7", run(one))
    assert "gpu1:1 GPU\t" in hostler("show", "r7").out


def test_a_failed_run_quotes_the_last_lines_of_what_failed(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    stream(daemon, FAILED)
    said = hostler("run", "--wait").err
    assert said.endswith("the last of train:\n  hello\n  ␛[2Jworld\n")
    assert daemon.requests("GET", "/v1/runs/r7/logs/train")[0].query == {"tail": "10"}


@pytest.mark.parametrize(
    ("end", "code"),
    [(DONE, 0), (FAILED, 6), (run(outcome="cancelled", cancelled_by="bo"), 7)],
)
def test_the_end_is_the_exit_code(
    hostler: CommandLine, daemon: ScriptedDaemon, end: RunView, code: int
) -> None:
    stream(daemon, end)
    assert hostler("run", "--wait", "-q").code == code


def test_a_deadline_is_8_and_the_run_goes_on(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    never = threading.Event()
    answer = Answer(parts=[*json_lines({"run": run()}), never])
    daemon.on("GET", "/v1/runs/r7/events", answer)
    ran = hostler("run", "--wait", "--timeout", "50ms")
    never.set()
    assert ran.code == 8
    assert "r7 still runs" in ran.err
    assert daemon.requests("POST", "/v1/runs/r7/cancel") == []


def test_on_a_terminal_a_table_is_redrawn(hostler: CommandLine, terminal: Any) -> None:
    terminal()
    ran = hostler("run", tty=True)
    assert ran.code == 0
    assert "STAGE" in ran.out
    assert "\x1b[4A" in ran.out
    last = ran.out.rsplit("\x1b[4A", 1)[1]
    assert "1 of 1 succeeded" in last


def test_a_command_shows_its_output_and_gives_its_code(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    stream(daemon, run(), run(stage(status="running")), FAILED)
    ran = hostler("run", "--gpus", "2", "--gpu-memory", "24GiB", "--model", "A100", "--env", "A=1",
                  "--wait", "--", "python", "train.py", "-d", "--lr", "3")  # fmt: skip
    assert ran.code == 42
    assert ran.out == "hello\n\x1b[2Jworld\n"  # a pipe gets the bytes
    assert "train on gpu1: user error, exit code 42" in ran.err
    command = submitted(daemon)["command"]
    assert command == {
        "command": ["python", "train.py", "-d", "--lr", "3"], "gpus": 2, "gpu_memory": "24GiB",
        "gpu_model": ["A100"], "env": {"A": "1"}, "code": "here",
    }  # fmt: skip


def test_a_commands_output_is_harmless_on_a_terminal(hostler: CommandLine, terminal: Any) -> None:
    terminal()
    ran = hostler("run", "--", "x", tty=True)
    assert ran.code == 0
    assert ran.out == "hello\n␛[2Jworld\n"


def test_every_attempt_of_a_command_is_shown_once(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    second = stage(status="running", attempt=attempt(number=2))
    stream(daemon, run(stage(status="running")), run(stage(status="running")), run(second), DONE)
    assert hostler("run", "--wait", "-q", "--", "x").out.count("hello") == 2
    attempts = [a.query["attempt"] for a in daemon.requests("GET", "/v1/runs/r7/logs/train")]
    assert attempts == ["1", "2"]


def test_why_it_waits_is_said_once(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    waits = run(stage(reason={"sentence": "gpu1 is full", "hosts": []}))
    stream(daemon, waits, waits, DONE)
    assert hostler("run", "--wait", "--", "x").err.count("train: gpu1 is full") == 1


def test_why_a_start_does_not_go_on_is_said_once(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    starts = stage(status="starting", attempt=attempt("starting"), trouble="raise MaxSessions")
    stream(daemon, run(starts), run(replace(starts, progress=None, note="")), DONE)
    ran = hostler("run", "--wait", "--", "true")
    assert ran.err.count("train: raise MaxSessions\n") == 1


def test_a_cut_log_goes_on_where_it_was(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    def log(asked: Asked) -> Answer:
        whole = b"0123456789"
        offset = int(asked.query["offset"])
        return Answer(parts=[whole[offset : offset + 4]], cut=offset < 8)

    daemon.on("GET", "/v1/runs/r7/logs/train", log)
    stream(daemon, run(stage(status="running")), DONE)
    assert hostler("run", "--wait", "-q", "--", "x").out == "0123456789"


def test_a_daemon_that_restarts_is_waited_for(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    answers = iter(
        [
            Answer(parts=json_lines({"run": run(stage(status="running"))}), cut=True),
            Answer(parts=json_lines({"run": run(stage(status="running"))})),
            Answer(parts=json_lines({"run": DONE})),
        ]
    )
    daemon.on("GET", "/v1/runs/r7/events", lambda _asked: next(answers))
    ran = hostler("run", "--wait")
    assert ran.code == 0
    assert ran.out.count("running") == 1


def test_a_daemon_that_goes_away_under_a_log_is_said_once(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    answers = iter(
        [
            Answer(parts=[b"one "], cut=True),
            Answer(parts=[], cut=True),
            Answer(parts=[], cut=True),
            Answer(parts=[b"two"]),
        ]
    )
    daemon.on("GET", "/v1/runs/r7/logs/train", lambda _asked: next(answers))
    daemon.on("GET", "/v1/runs/r7", run(stage(status="running")))
    ran = hostler("logs", "-f", "r7")
    assert (ran.code, ran.out) == (0, "one two")
    assert ran.err == "the daemon does not answer; work continues; waiting for it\n"


def test_a_log_that_was_only_cut_goes_on_without_a_word(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    answers = iter([Answer(parts=[b"one "], cut=True), Answer(parts=[b"two"])])
    daemon.on("GET", "/v1/runs/r7/logs/train", lambda _asked: next(answers))
    daemon.on("GET", "/v1/runs/r7", run(stage(status="running")))
    ran = hostler("logs", "-f", "r7")
    assert (ran.out, ran.err) == ("one two", "")


def test_a_daemon_that_stays_away_is_5(
    hostler: CommandLine, daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "PATIENCE", 0.05)
    daemon.on("GET", "/v1/runs/r7/events", Answer(parts=[], cut=True))
    assert hostler("run", "--wait").code == 5


class Interrupts:
    """Ctrl-C at the first update, then as it comes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 1
        original = follow.Follower.updates

        def updates(follower: follow.Follower) -> Any:
            for entry in original(follower):
                if self.left:
                    self.left -= 1
                    raise KeyboardInterrupt
                yield entry

        monkeypatch.setattr(follow.Follower, "updates", updates)


def test_ctrl_c_asks_and_detaches_by_default(
    hostler: CommandLine, daemon: ScriptedDaemon, terminal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Interrupts(monkeypatch)
    terminal("\n")
    ran = hostler("run", tty=True)
    assert ran.code == 130
    assert "detached; r7 continues" in ran.err
    assert daemon.requests("POST", "/v1/runs/r7/cancel") == []


def test_ctrl_c_can_cancel_and_waits_for_the_end(
    hostler: CommandLine, daemon: ScriptedDaemon, terminal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Interrupts(monkeypatch)
    terminal("c\n")
    stream(daemon, run(outcome="cancelled", cancelled_by="ana"))
    ran = hostler("run", tty=True)
    assert ran.code == 7
    assert len(daemon.requests("POST", "/v1/runs/r7/cancel")) == 1


def test_after_ctrl_c_nothing_is_shown_twice(
    hostler: CommandLine, daemon: ScriptedDaemon, terminal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = follow.LogCopy._open
    interrupted: list[int] = []

    def opened(copy: follow.LogCopy) -> Any:
        for part in original(copy):
            yield part
            if not interrupted:
                interrupted.append(1)
                raise KeyboardInterrupt

    def log(asked: Asked) -> Answer:
        return Answer(parts=[b"first\n", b"second\n"] if asked.query["offset"] == "0" else
                      [b"first\nsecond\n"[int(asked.query["offset"]):]])  # fmt: skip

    monkeypatch.setattr(follow.LogCopy, "_open", opened)
    daemon.on("GET", "/v1/runs/r7/logs/train", log)
    stream(daemon, run(stage(status="running")), run(outcome="cancelled", cancelled_by="ana"))
    terminal("c\n")
    ran = hostler("run", "--", "x", tty=True)
    assert ran.code == 7
    assert ran.out == "first\nsecond\n"
    assert ran.err.count("running on gpu1") == 1


def test_ctrl_c_in_a_pipe_only_detaches(
    hostler: CommandLine, daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    Interrupts(monkeypatch)
    assert hostler("run", "--wait").code == 130
    assert daemon.requests("POST", "/v1/runs/r7/cancel") == []


def test_a_plan_changes_nothing(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    stages = [{"stage": "a", "host": "gpu1", "gpus": [0], "why": "free"}]
    daemon.on("POST", "/v1/plan", {"stages": stages})
    ran = hostler("run", "--plan")
    assert (ran.code, ran.out) == (0, "a\tgpu1\t0\tfree\n")
    assert hostler("run", "--plan", "--json").json["stages"] == [
        to_json(from_answer(PreviewLine, told)) for told in stages
    ]
    assert daemon.requests("POST", "/v1/runs") == []


def test_other_runs_to_wait_for_are_sent(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    words = ["--after", "rabc", "--after", "last", "--after-any", "rdef"]
    assert hostler("run", *words, "pipeline.toml").code == 0
    sent = daemon.requests("POST", "/v1/runs")[0].json
    assert (sent["after"], sent["after_any"]) == (["rabc", "last"], ["rdef"])


def test_words_behind_a_file_are_for_its_commands(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    assert hostler("run", "pipeline.toml", "--", "--lr", "a b").code == 0
    (sent,) = daemon.requests("POST", "/v1/runs")
    assert sent.json["args"] == ["--lr", "a b"]
    assert "command" not in sent.json


@pytest.mark.parametrize(
    "words",
    [
        ["nowhere.toml"],
        ["-p", "lr=1", "--", "x"],
        ["--gpus", "1"],
        ["--"],
        ["--gpus", "-1", "--", "x"],
        ["--gpus", "1025", "--", "x"],
        ["--gpu-memory", "24", "--", "x"],
        ["--priority", "3"],
        ["--env", "NOT_SET_ANYWHERE", "--", "x"],
        ["-p", "lr"],
    ],
)
def test_wrong_usage_is_2_and_submits_nothing(
    hostler: CommandLine, daemon: ScriptedDaemon, words: list[str]
) -> None:
    ran = hostler("run", *words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err
    assert daemon.requests("POST", "/v1/runs") == []


def test_all_problems_of_a_pipeline_are_told(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    problems = [{"path": f"stages.{n}", "message": "bad", "line": n, "hint": ""} for n in "12"]
    error = {"kind": "PipelineError", "message": "2 problems", "remedy": "", "problems": problems}
    daemon.on("POST", "/v1/runs", Answer({"error": error}, 400))
    ran = hostler("run")
    assert ran.code == 2
    assert ran.err == "hostler: 2 problems\n  stages.1: bad\n  stages.2: bad\n"


NO_GPU = "no GPU requested; --gpus 1 requests one"


def test_a_command_without_gpus_is_told_where_the_lab_has_some(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    assert NO_GPU in hostler("run", "-d", "--", "true").err.splitlines()
    assert NO_GPU in hostler("run", "--wait", "--", "true").err.splitlines()
    for words in (["--gpus", "1"], ["--gpus", "0"], ["-q"], ["--json"]):
        assert NO_GPU not in hostler("run", "-d", *words, "--", "true").err, words
    assert NO_GPU not in hostler("run", "-d").err  # a pipeline says what it needs
    daemon.on("GET", "/v1/version", VERSION | {"gpus": 0})
    assert NO_GPU not in hostler("run", "-d", "--", "true").err


def test_a_daemon_that_has_just_started_is_given_a_moment_to_count_its_gpus(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    asked: list[int | None] = [None, None, None, 2]  # also the question whether a daemon runs

    def version(_asked: Asked) -> Answer:
        count = asked.pop(0) if len(asked) > 1 else asked[0]
        return Answer(VERSION | {"local": True, "gpus": count})

    daemon.on("GET", "/v1/version", version)
    assert NO_GPU in hostler("run", "-d", "--", "true").err.splitlines()


def test_the_words_of_a_sweep(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    for name in ("b.yaml", "a.yaml", "c[1].yaml"):
        Path(name).touch()
    assert hostler("run", "-d", "--each", "*.yaml", "--", "cat", "{}").code == 0
    command = submitted(daemon)["command"]
    assert command["each"] == ["a.yaml", "b.yaml", "c[1].yaml"]
    assert command["command"] == ["cat", "{}"]
    # What the shell has filled in already is as good.
    assert hostler("run", "-d", "--each", "b.yaml", "c[1].yaml", "--", "cat", "{}").code == 0
    assert submitted(daemon)["command"]["each"] == ["b.yaml", "c[1].yaml"]
    assert hostler("run", "-d", "--array", "0-6:3,9%2", "--", "cat").code == 0
    command = submitted(daemon)["command"]
    assert (command["array"], command["max_parallel"]) == ([0, 3, 6, 9], 2)


def test_the_same_environment_is_told_of_once(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    said = "your environment /v is not on gpu1"
    daemon.on("POST", "/v1/runs", Answer({**to_json(run()), "dropped_environment": said}, 201))
    assert said in hostler("run", "-d").err
    assert said not in hostler("run", "-d").err
