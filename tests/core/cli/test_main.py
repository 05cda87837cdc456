from __future__ import annotations

import argparse
import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import hostler as package
from hostler.base.errors import (
    HostError,
    HostlerError,
    InputError,
    NoDaemonError,
    PipelineError,
    Problem,
)
from hostler.cli import main, parser
from hostler.cli.commands import version
from hostler.cli.options import duration, duration_text
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import Answer, ScriptedDaemon, json_lines
from tests.support.programs.signals import hears_ctrl_c


def test_help_lists_every_command(hostler: CommandLine) -> None:
    ran = hostler("--help")
    assert ran.code == 0
    for name, (_, text) in parser.table().items():
        assert name in ran.out
        assert text in ran.out
    assert "__complete" not in ran.out


@pytest.mark.parametrize("name", sorted(parser.table()))
def test_every_command_has_help(hostler: CommandLine, name: str) -> None:
    ran = hostler(name, "--help")
    assert ran.code == 0
    assert ran.out.startswith(f"usage: hostler {name}")
    assert hostler("help", name).out == ran.out


def test_an_unknown_command_is_never_guessed(hostler: CommandLine) -> None:
    ran = hostler("rns")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "hostler: there is no command 'rns'. Did you mean `hostler runs`?\n"
    assert "hostler --help" in hostler("xyzzy").err
    assert hostler("--frobnicate").code == 2


def test_options_are_not_abbreviated(hostler: CommandLine) -> None:
    assert hostler("runs", "--pipe", "x").code == 2


@pytest.mark.parametrize(
    "words",
    [["run", "--time-limit", "5", "--", "ls"], ["run", "--timeout", "5"], ["ps", "--timeout", "5"],
     ["wait", "last", "--timeout", "5"], ["gpus", "--need", "1", "--wait", "5"],
     ["gpus", "--watch", "--interval", "5"]],
)  # fmt: skip
def test_a_bare_number_is_no_duration(hostler: CommandLine, words: list[str]) -> None:
    ran = hostler(*words)
    assert ran.code == 2
    assert "5 has no unit: write 5s, 5m or 5h" in ran.err


def test_durations_have_units_and_0_needs_none() -> None:
    assert [duration(text) for text in ("0", "90s", "1h30m")] == [0.0, 90.0, 5400.0]
    assert [duration_text(text) for text in ("0", "2h")] == ["0s", "2h"]
    for text in ("1.5", "-5", "2h30", "soon"):
        with pytest.raises(argparse.ArgumentTypeError):
            duration(text)


def test_version(hostler: CommandLine) -> None:
    assert hostler("--version").out == f"hostler {package.__version__}\n"


def test_a_program_that_ends_looks_for_no_garbage(
    hostler: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which took a sixth of the processor time of most commands; a caller of `main` goes on."""
    frozen: list[str] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(sys.argv[1]))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PATH", os.environ["PATH"])
    hostler("--version")
    assert frozen == []
    for word in ("--version", "rns"):
        monkeypatch.setattr(sys, "argv", ["hostler", word])
        main()
    assert frozen == ["--version", "rns"]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (HostlerError("it broke", remedy="Mend it"), 1, "hostler: it broke. Mend it\n"),
        (InputError("no"), 2, "hostler: no\n"),
        (NoDaemonError("silent"), 5, "hostler: silent\n"),
        (HostError("gpu1", "\x1b]0;x\x07reset"), 1, "hostler: gpu1: ␛]0;x␇reset\n"),
        (RuntimeError("oops"), 1, "hostler: unexpected RuntimeError: oops. "
         "This is a bug; --debug shows where\n"),
        (
            PipelineError("2 problems", problems=[
                Problem("stages.a.gpus", "not a number", line=3, hint="write 2"),
                Problem("name", "missing"),
            ]),
            2,
            "hostler: 2 problems\n  line 3: stages.a.gpus: not a number (write 2)\n"
            "  name: missing\n",
        ),
    ],
)  # fmt: skip
def test_errors_are_told_in_one_line_with_their_code(
    hostler: CommandLine, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, text: str
) -> None:
    def fail(_args: object) -> int:
        raise error

    monkeypatch.setattr(version, "run", fail)
    ran = hostler("version")
    assert (ran.code, ran.err) == (code, text)


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_args: object) -> int:
        raise RuntimeError("oops")

    monkeypatch.setattr(version, "run", fail)
    with pytest.raises(RuntimeError, match="oops"):
        main(["version", "--debug"])


def test_debug_of_the_persons_own_command_is_not_ours(
    hostler: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTLER_SOCKET", str(tmp_path / "none.sock"))
    ran = hostler("run", "--", "python", "x.py", "--debug")
    assert ran.code == 5
    assert "Traceback" not in ran.err


def test_an_interrupt_is_130(hostler: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(version, "run", interrupt)
    assert hostler("version").code == 130


@pytest.mark.programs
def test_a_closed_pipe_is_141_and_quiet(daemon: ScriptedDaemon) -> None:
    events = [{"event": {"seq": 1, "at": 1.0, "kind": "x", "message": "y" * 1000}}] * 2000
    daemon.on("GET", "/v1/events", Answer(parts=json_lines(*events)))
    process = subprocess.Popen(
        [sys.executable, "-m", "hostler", "events"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "HOSTLER_SOCKET": str(daemon.path)},
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.programs
def test_ctrl_c_ends_a_follow_with_130(daemon: ScriptedDaemon) -> None:
    never = threading.Event()
    first = json_lines({"event": {"seq": 1, "at": 1.0, "kind": "x", "message": "y"}})
    daemon.on("GET", "/v1/events", Answer(parts=[*first, never]))
    process = subprocess.Popen(
        [sys.executable, "-m", "hostler", "events", "-f"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "HOSTLER_SOCKET": str(daemon.path)},
        preexec_fn=hears_ctrl_c,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().endswith(b"y\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == b""
    never.set()
