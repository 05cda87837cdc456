"""The command line with a real daemon, a real agent and a real sshd, as people meet it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons.commandline import CommandLine
from tests.support.machines.sshd import WHY_NOT, Home, Sshd, can_run
from tests.support.programs import warm

pytestmark = pytest.mark.programs


class Shell:
    """Runs `hostler` as a process of its own, in a home of its own.

    Where it is not `cold`, commands are forked (tests/support/programs/warm.py): for tests of what
    they do, not of the programs.
    """

    def __init__(self, home: Path) -> None:
        self.home, self.cold = home, True
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HOSTLER_", "XDG_"))}
        self.env = {**kept, "HOME": str(home), "HOSTLER_STATE": str(home / "state")}

    def __call__(self, *words: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
        if not self.cold and warm.can_run(words, self.env):
            done = warm.run(words, self.env, self.home, timeout, None)
            said = done.stdout.decode(), done.stderr.decode()
            return subprocess.CompletedProcess(words, done.returncode, *said)
        return subprocess.run(
            [sys.executable, "-m", "hostler", *words],
            env=self.env, cwd=self.home, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip


@pytest.fixture
def shell() -> Iterator[Shell]:
    with tempfile.TemporaryDirectory(prefix="hs-") as name:
        made = Shell(Path(name))
        try:
            yield made
        finally:
            if (made.home / "state").exists():
                made("daemon", "stop")


def test_from_nothing_to_a_finished_run(shell: Shell) -> None:
    looked = shell("gpus", "--json")
    assert looked.returncode == 0, looked.stderr
    assert '"source":"direct"' in looked.stdout
    assert not (shell.home / "state").exists()  # looking starts and leaves nothing

    ran = shell("run", "--wait", "--", "sh", "-c", "echo out; exit 3")
    assert ran.returncode == 3, ran.stderr
    assert ran.stdout == "out\n"
    assert ran.stderr.startswith("starting your daemon\n")
    shell.cold = False
    assert shell("logs", "last").stdout == "out\n"
    assert shell("show", "last").stdout.split("\t")[1] == "failed"
    assert shell("wait", "last").returncode == 6
    assert '"source":"daemon"' in shell("gpus", "--json").stdout

    work = shell.home / "work"
    work.mkdir()
    (work / "pipeline.toml").write_text(
        'name = "two"\n[stages.a]\ncommand = "true"\n'
        '[stages.b]\nneeds = ["a"]\ncommand = "cat pipeline.toml"\n'
    )
    ran = shell("run", "work/pipeline.toml", "--wait")
    assert ran.returncode == 0, ran.stderr
    assert "a: succeeded on local" in ran.stdout
    assert "[stages.b]" in shell("logs", "last/b").stdout
    (work / "broken.toml").write_text('[stages.a]\ncomand = "true"\ngpus = "x"\n')
    refused = shell("run", "work/broken.toml")
    assert refused.returncode == 2
    assert "comand" in refused.stderr
    assert "name: is missing" in refused.stderr


def test_the_readmes_command_runs_where_python3_is_the_only_python(shell: Shell) -> None:
    shell.cold = False
    tools = shell.home / "bin"
    tools.mkdir()
    for folder in ("/bin", "/usr/bin"):
        for name in set(os.listdir(folder)) - {"python"} - set(os.listdir(tools)):
            (tools / name).symlink_to(f"{folder}/{name}")
    if not (tools / "python3").exists():
        (tools / "python3").symlink_to(sys.executable)
    shell.env["PATH"] = str(tools)
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^hostler (run --gpus 1 -- [^#]*)#", readme, re.MULTILINE)
    words = [word for word in line.split() if word not in ("--gpus", "1")]
    (shell.home / words[-1]).write_text("print('trained')\n")
    ran = shell("run", "--wait", *words[1:])
    assert (ran.returncode, ran.stdout) == (0, "trained\n"), ran.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "PATH",
            b"/\xff:/usr/bin:/bin",
            "the variable PATH of your shell is not UTF-8. Correct it",
        ),
        ("HOSTLER_STATE", b"/tmp/hs-\xff", "the path of the state folder is not UTF-8"),
    ],
)
def test_bytes_that_are_no_text_are_named(shell: Shell, name: str, value: bytes, said: str) -> None:
    shell.env[name] = os.fsdecode(value)
    ran = shell("run", "--wait", "--", "true")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr
    assert not Path(os.fsdecode(b"/tmp/hs-\xff")).exists()


def test_a_folder_that_was_removed_or_is_no_text_is_named(shell: Shell) -> None:
    home, odd = shell.home, shell.home / os.fsdecode(b"d\xff")
    odd.mkdir()
    shell.home = odd
    ran = shell("run", "--wait", "--", "true")
    assert (ran.returncode, "is not UTF-8. Rename it" in ran.stderr) == (2, True)
    shell.home = home
    gone = home / "gone"
    gone.mkdir()
    program = f"{sys.executable} -m hostler"
    for words, code in (("run -- true", 2), ("version", 0)):
        gone.mkdir(exist_ok=True)
        ran = subprocess.run(
            ["/bin/sh", "-c", f"cd {gone}; rmdir {gone}; exec {program} {words}"],
            env=shell.env, cwd=home, capture_output=True, text=True, timeout=90,
        )  # fmt: skip
        assert ran.returncode == code, ran.stderr
        assert ("was removed. Go to another one: cd" in ran.stderr) == (code == 2)


@pytest.mark.parametrize(
    ("redirected", "code", "said"),
    [
        ("config show > /dev/full", 1, "hostler: the output cannot be written: No space left"),
        ("--help > /dev/full", 1, "hostler: the output cannot be written: No space left"),
        ("config show >&-", 0, ""),
        ("show nope 2>&-", 2, ""),
    ],
)
def test_output_that_goes_nowhere_is_no_bug(
    shell: Shell, redirected: str, code: int, said: str
) -> None:
    # As people have it: with this variable set, nothing would be left to be written at the end.
    buffered = {key: value for key, value in shell.env.items() if key != "PYTHONUNBUFFERED"}
    ran = subprocess.run(
        ["/bin/sh", "-c", f"exec {sys.executable} -m hostler {redirected}"],
        env=buffered, cwd=shell.home, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert ran.returncode == code
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr
    assert "bug" not in ran.stderr


@pytest.mark.skipif(not can_run(), reason=WHY_NOT)
def test_keys_of_a_real_server_are_shown_and_trusted(
    hostler: CommandLine, terminal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    server = Sshd(tmp_path / "sshd").start()
    try:
        (tmp_path / "config.toml").write_text(
            f'[hosts.one]\naddress = "127.0.0.1"\nport = {server.port}\nuser = "root"\n'
            f'key = "{server.user_key}"\n'
        )
        refused = hostler("gpus")
        assert refused.code == 0
        assert "refused" in refused.out
        assert hostler("host", "trust", "one").code == 2
        terminal("y\n")
        asked = hostler("host", "trust", "one", tty=True)
        assert asked.code == 0
        assert "SHA256:" in asked.err
        known = (tmp_path / ".ssh/known_hosts").read_text()
        assert server.public_line in known
        checked = hostler("doctor", "one", "--json").json
        states = {check["name"]: check["state"] for check in checked["checks"]}
        assert states["host.ssh"] == "ok"
        assert states["host.agent"] == "ok"
        fleet = hostler("gpus", "--json").json
        assert fleet["hosts"][0]["condition"] == "up"
    finally:
        server.stop()


@pytest.mark.skipif(not can_run(), reason=WHY_NOT)
def test_why_a_start_does_not_go_on_is_told_while_sshd_gives_one_session(shell: Shell) -> None:
    server = Sshd(shell.home / "sshd", options=("MaxSessions 1",)).start()
    try:
        shell.cold = False
        home = Home(shell.home)
        home.know(server)
        config, work = shell.home / "config.toml", shell.home / "work"
        config.write_text(
            f'[hosts.one]\naddress = "127.0.0.1"\nport = {server.port}\nuser = "root"\n'
            f'key = "{server.user_key}"\n'
        )
        shell.env |= {"HOSTLER_CONFIG": str(config)}
        work.mkdir()
        (work / "code.txt").write_text("code\n")
        pipeline = 'name = "p"\n[stages.a]\ncommand = "cat code.txt"\n'
        (work / "pipeline.toml").write_text(pipeline)
        ran = shell("run", "-d", "work/pipeline.toml")
        assert ran.returncode == 0, ran.stderr
        ends = time.monotonic() + 60
        while "MaxSessions" not in (said := shell("why", "last").stdout):
            assert time.monotonic() < ends, said
        assert "the start is blocked" in said
        assert "raise MaxSessions" in shell("show", "last").stdout
        server.stop()
        server.options = ()
        server.start()
        ended = shell("wait", "last")
        assert ended.returncode == 0, ended.stderr
        assert shell("logs", "last").stdout == "code\n"
    finally:
        server.stop()
