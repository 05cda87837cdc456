from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hostler.cli import gpus_direct
from hostler.cli.commands import gpus
from hostler.quick import socket as quick_socket
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import Answer, ScriptedDaemon
from tests.support.programs.signals import hears_ctrl_c
from tests.support.values.fleets import fleet, host

FLEET = fleet(
    host("gpu1", "..L"), host("gpu2", "L"), host("gpu3", "??", condition="unreachable", age_s=99.0)
)


@pytest.fixture(autouse=True)
def _fleet(daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/gpus", FLEET)


def test_piped_it_is_tab_separated(hostler: CommandLine) -> None:
    ran = hostler("gpus")
    assert ran.code == 0
    assert ran.out.splitlines()[0].split("\t")[:4] == ["gpu1", "A100-80G", "..L", "2/3"]
    assert ran.err == ""


def test_on_a_terminal_it_is_a_table(hostler: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    ran = hostler("gpus", tty=True)
    assert ran.out.splitlines()[0].startswith("HOST   MODEL")
    assert "\x1b" not in ran.out
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[32m.\x1b[0m" in hostler("gpus", tty=True).out
    assert "\x1b" not in hostler("gpus", "--color", "never", tty=True).out


def test_json_is_the_daemons_object(hostler: CommandLine) -> None:
    assert hostler("gpus", "--json").json == FLEET
    chosen = hostler("gpus", "--json", "--host", "gpu[12]").json
    assert [entry["host"] for entry in chosen["hosts"]] == ["gpu1", "gpu2"]


def test_filters_combine(hostler: CommandLine) -> None:
    ran = hostler("gpus", "--free", "--model", "a100", "--host", "gpu1", "-o", "ids")
    assert ran.out == "gpu1 0,1\n"
    assert hostler("gpus", "--host", "gpu3", "--host", "gpu2", "-o", "tsv").out.count("\n") == 2


@pytest.mark.parametrize(
    ("words", "code", "begins"),
    [
        (["--need", "2"], 0, "yes: gpu1 gpus 0,1"),
        (["--need", "2", "--gpu-memory", "100GiB"], 3, "no: no GPU matches"),
        (["--need", "3", "--host", "gpu[13]", "--host", "gpu2", "--spread"], 4, "cannot tell: 2"),
        (["--need", "3"], 3, "no: best is gpu1 with 2 free"),
    ],
)
def test_questions_are_answered_by_exit_code(
    hostler: CommandLine, words: list[str], code: int, begins: str
) -> None:
    ran = hostler("gpus", *words)
    assert (ran.code, ran.out[: len(begins)]) == (code, begins)
    assert ran.err == ""  # hints are for terminals
    quiet = hostler("gpus", *words, "-q")
    assert (quiet.code, quiet.out) == (code, "")


def test_an_answer_for_scripts(hostler: CommandLine) -> None:
    assert hostler("gpus", "--need", "2", "-o", "ids").out == "gpu1 0,1\n"
    answered = hostler("gpus", "--need", "2", "--json").json
    assert answered["schema"] == "hostler.gpus/1"
    assert answered["need"]["picks"] == [{"host": "gpu1", "indices": [0, 1]}]


def test_hints_go_to_a_terminals_stderr(hostler: CommandLine) -> None:
    assert "hostler run --gpus 2 -- CMD" in hostler("gpus", "--need", "2", tty=True).err
    assert "--spread" not in hostler("gpus", "--need", "4", "-q", tty=True).err


@pytest.mark.parametrize(
    "words",
    [["--need", "0"], ["--need", "x"], ["--gpu-memory", "24GiB"], ["--need", "1", "--gpu-memory",
     "24"], ["--wait", "30m"], ["--need", "1", "--wait", "soon"], ["--need", "1", "--watch"]],
)  # fmt: skip
def test_wrong_usage_is_2(hostler: CommandLine, words: list[str]) -> None:
    ran = hostler("gpus", *words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err


def test_waiting_blocks_until_yes(
    hostler: CommandLine, daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "_WAIT_EVERY", 0.01)
    answers = iter([fleet(host("a", "L")), fleet(host("a", "L")), fleet(host("a", "."))])
    daemon.on("GET", "/v1/gpus", lambda _asked: Answer(next(answers)))
    ran = hostler("gpus", "--need", "1", "--wait", "30s")
    assert (ran.code, ran.out[:4]) == (0, "yes:")
    assert len(daemon.asked) == 3


def test_a_person_who_waits_is_told_what_for(
    hostler: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "_WAIT_EVERY", 0.01)
    words = ("gpus", "--need", "3", "--wait", "1s")
    said = "no: best is gpu1 with 2 free; waiting, at most 1s\n"
    assert hostler(*words, tty=True).err == said
    assert hostler(*words, "-q", tty=True).err == ""
    assert hostler(*words).err == ""


def test_what_does_not_exist_is_not_waited_for(hostler: CommandLine) -> None:
    ran = hostler("gpus", "--need", "4", "--host", "gpu[12]", "--wait", "10h")
    assert (ran.code, ran.out[:24]) == (3, "no: gpu1 has the most, 3")


def test_waiting_ends_with_the_last_answer(
    hostler: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "_WAIT_EVERY", 0.01)
    assert hostler("gpus", "--need", "3", "--wait", "50ms").code == 3


def test_old_values_can_be_refused(hostler: CommandLine) -> None:
    assert hostler("gpus", "--need", "1", "--max-age", "500ms").code == 4
    assert hostler("gpus", "--need", "1", "--max-age", "10s").code == 0


@pytest.mark.programs
def test_watching_writes_one_object_a_line(daemon: ScriptedDaemon) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "hostler", "gpus", "-w", "--json", "--interval", "500ms"],
        stdout=subprocess.PIPE,
        env={**os.environ, "HOSTLER_SOCKET": str(daemon.path)},
        preexec_fn=hears_ctrl_c,
    )
    with process:
        assert process.stdout is not None
        for _ in range(3):
            assert json.loads(process.stdout.readline()) == FLEET
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


@pytest.mark.parametrize("words", [["-w"], ["-w", "--html", "page.html"], ["-w", "--direct"]])
@pytest.mark.parametrize("time", ["0", "0s", "0.001s", "499ms"])
def test_a_watch_rests_between_looks(hostler: CommandLine, words: list[str], time: str) -> None:
    ran = hostler("gpus", *words, "--interval", time)
    assert (ran.code, ran.out) == (2, "")
    assert f"--interval: '{time}' is too short: at least 0.5s" in ran.err


def test_watching_redraws_a_terminal_in_place(
    hostler: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def sleep(_seconds: float) -> None:
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    ran = hostler("gpus", "--watch", "--color", "never", tty=True)
    assert ran.code == 130
    assert ran.out.count("\x1b[H") == 2
    assert ran.out.endswith("\x1b[J")


def test_a_named_daemon_that_is_silent_is_5_and_hosts_are_not_asked(
    hostler: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTLER_SOCKET", "/nowhere/x.sock")
    monkeypatch.setattr(gpus_direct, "look_direct", lambda *_a, **_k: pytest.fail("asked hosts"))
    ran = hostler("gpus")
    assert (ran.code, ran.out) == (5, "")
    assert "--direct" in ran.err


def direct(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    asked: list[Any] = []

    def look(hosts: Any = (), **_options: Any) -> Any:
        asked.append(tuple(hosts))
        return fleet(host("far", "."), source="direct")

    monkeypatch.setattr(gpus_direct, "look_direct", look)
    return asked


def test_without_a_daemon_hosts_are_asked(
    hostler: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOSTLER_SOCKET")
    asked = direct(monkeypatch)
    assert hostler("gpus", "--need", "1", "--host", "far").code == 0
    assert hostler("gpus", "--json").json["source"] == "direct"
    assert asked == [("far",), ()]


def test_hosts_are_asked_where_that_is_wanted(
    hostler: CommandLine, daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = direct(monkeypatch)
    assert hostler("gpus", "--direct", "-o", "ids").out == "far 0\n"
    assert asked == [()]
    assert daemon.asked == []


def test_a_host_that_does_not_exist_is_an_error(
    hostler: CommandLine, daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.on("GET", "/v1/gpus", fleet(host("gpu1", "."), host("gpu2", "L")))
    for words in (["--host", "nope"], ["--host", "gpu1", "--host", "x*", "--need", "1"]):
        ran = hostler("gpus", *words)
        assert (ran.code, ran.out) == (2, "")
        assert "Known hosts: gpu1, gpu2" in ran.err


def test_a_model_that_nobody_has_is_told_with_those_there_are(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    daemon.on("GET", "/v1/gpus", fleet(host("gpu1", ".")))
    ran = hostler("gpus", "--model", "H100", tty=True)
    assert (ran.code, ran.err) == (3, "hostler: no GPU matches this model; there are: A100-80G\n")
    piped = hostler("gpus", "--model", "H100")
    assert (piped.code, piped.out, piped.err) == (3, "", ran.err)
    quiet = hostler("gpus", "--model", "H100", "-q", "--json")
    assert (quiet.code, quiet.json["hosts"], quiet.err) == (3, [], "")
    assert hostler("gpus", "--model", "A100").code == 0


def test_a_daemon_that_has_just_started_is_given_time_to_hear_its_hosts(
    hostler: CommandLine, daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_socket, "_HOSTS_EVERY", 0.01)
    new = fleet(host("gpu1", "", condition="connecting", age_s=None))
    answers = iter([new, new, fleet(host("gpu1", ".."))])
    daemon.on("GET", "/v1/gpus", lambda _asked: Answer(next(answers)))
    assert hostler("gpus", "-o", "ids").out == "gpu1 0,1\n"
    daemon.on("GET", "/v1/gpus", new)
    monkeypatch.setattr(gpus, "DIRECT_DEADLINE", 0.05)
    assert hostler("gpus", "--need", "1").code == 4


def test_without_a_configuration_it_says_how_to_make_one(
    hostler: CommandLine, daemon: ScriptedDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTLER_CONFIG", str(tmp_path / "none.toml"))
    daemon.on("GET", "/v1/gpus", fleet(host("local", ".", transport="local")))
    assert "hostler init" in hostler("gpus", tty=True).err
    assert hostler("gpus", "-q", tty=True).err == ""
    assert hostler("gpus").err == ""


def test_waiting_is_only_proposed_where_it_can_help(hostler: CommandLine) -> None:
    assert "--wait" in hostler("gpus", "--need", "3", tty=True).err
    assert "--wait" not in hostler("gpus", "--need", "3", "--host", "gpu2", tty=True).err
    assert "--wait" not in hostler("gpus", "--need", "1", "--model", "H100", "--host", "gpu1",
                                   tty=True).err  # fmt: skip


def test_a_card_that_is_not_known_may_be_worth_waiting_for(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    daemon.on("GET", "/v1/gpus", fleet(host("gpu1", "L", (None, None))))
    assert "--wait" in hostler("gpus", "--need", "1", "--model", "A100", tty=True).err
