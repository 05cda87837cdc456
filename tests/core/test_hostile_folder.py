"""Nothing in the folder where a person stands runs with the rights of Hostler.

Every place that starts a program stands in `STARTS`, with the test that tries it there.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from hostler.base.errors import InputError
from hostler.base.programs import find_program, leave_folder, own_argv, safe_environ
from hostler.cli.host_tools import CommandTools
from hostler.local.door import LocalDoor
from hostler.packing import pack_source
from hostler_tui import clipboard
from hostler_tui.app import HostlerApp
from hostler_tui.host.screen import trust_in_terminal
from tests.support.machines.desk import desk_folder

pytestmark = pytest.mark.programs

ROOT = Path(__file__).resolve().parents[2]
STARTERS = {
    "run", "Popen", "call", "check_call", "check_output", "posix_spawn", "posix_spawnp",
    "create_subprocess_exec", "create_subprocess_shell", "subprocess_exec", "startfile",
}  # fmt: skip
MAY_START = re.compile(
    r"Popen|check_call|check_output|spawn|subprocess|startfile|os\.(exec|system|popen)|\bpty\b"
)
"""Words without which a file starts nothing; parsing all takes two seconds."""
STARTS = {
    "core/hostler/client/daemon_start.py:_spawn": "test_a_daemon_takes_nothing_from_the_folder",
    "core/hostler/cli/commands/demo.py:_spawn": "test_a_demo_takes_nothing_from_the_folder",
    "core/hostler/cli/commands/demo.py:_run_command": "the person's own command",
    "core/hostler/cli/secret_value.py:_of_program": "the person's own command",
    "core/hostler/packing/git_run.py:start": "test_packing_runs_no_git_of_the_folder",
    "core/hostler/local/door.py:exec_agent": "test_the_agent_of_this_machine_is_no_program_here",
    "core/hostler/cli/host_tools.py:doctor": "test_the_screen_takes_nothing_from_the_folder",
    "core/hostler/cli/host_tools.py:trust":
        "test_the_screen_takes_nothing_from_the_folder",
    "tui/hostler_tui/clipboard.py:copy": "test_helpers_are_not_found_in_the_folder",
    "agents/hostler_agent/bootstrap.py:": "isolated: -I -S",
    "agents/hostler_agent/venv.py:build":
        "tests/agents/test_venv.py::test_it_is_built_once_and_by_pythons_own_modules",
    "agents/hostler_agent/venv.py:main": "the stage itself",
    "agents/hostler_agent/spawning.py:spawn": "the stage itself",
    "agents/hostler_agent/activate.py:main": "the stage itself",
    "agents/hostler_agent/activate.py:shell":
        "tests/agents/test_venv.py::test_nothing_of_the_folder_where_an_agent_starts_runs_in_it",
    "agents/hostler_agent/condaenvs.py:_told":
        "tests/agents/test_environments.py::test_conda_itself_is_asked_where_no_file_tells",
    "agents/hostler_agent/environments.py:_said": "isolated: -I -S",
    "agents/hostler_agent/folders.py:remove_deep":
        "tests/agents/test_venv.py::test_nothing_of_the_folder_where_an_agent_starts_runs_in_it",
    "agents/hostler_agent/gateway.py:_version":
        "tests/agents/test_gateway.py::test_a_program_is_taken_only_if_it_says_its_version",
    "agents/hostler_agent/gateway.py:reach":
        "tests/agents/test_venv.py::test_nothing_of_the_folder_where_an_agent_starts_runs_in_it",
    "agents/hostler_agent/forwarder.py:_connect": "isolated: -I -S, in the gateway's own folder",
    "agents/hostler_agent/forwardsockets.py:_request":
        "isolated: -I -S, in the gateway's own folder",
    "core/hostler/wheels/fetch.py:_run": "isolated: -I, in a folder of its own",
    "agents/hostler_agent/setupenv.py:run": "the stage itself",
    "agents/hostler_agent/setupenv.py:_about": "isolated: -I -S",
    "agents/hostler_agent/setupenv.py:_create_conda": "the stage itself",
    "agents/hostler_agent/setupenv.py:_create_virtual": "the stage itself",
    "agents/hostler_agent/setupenv.py:_set_up": "the stage itself",
    "agents/hostler_agent/doctor_settings.py:_toolkit_version":
        "tests/agents/test_venv.py::test_nothing_of_the_folder_where_an_agent_starts_runs_in_it",
}  # fmt: skip
MODULES = (
    "h11", "uvicorn", "hostler", "hostler_tui", "logging", "json", "asyncio", "fastapi", "argparse",
    "asyncssh", "tomllib", "socket", "subprocess", "sqlite3", "docker", "textual", "pynvml",
    "typing",
)  # fmt: skip
PROGRAMS = ("git", "ssh", "python3", "python", "sh", "tmux", "env", "hostler", "nvidia-ctk", "nc")


class Trap:
    """A folder of code that tells when it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "evil"
        self.sprung = folder / "sprung"
        self.folder.mkdir()
        for name in MODULES:
            text = f"open({str(self.sprung)!r}, 'a').write('{name}\\n')\nraise SystemExit(99)\n"
            (self.folder / f"{name}.py").write_text(text)
        for name in PROGRAMS:
            program = self.folder / name
            program.write_text(f"#!/bin/sh\necho {name} >> {self.sprung}\nexit 99\n")
            program.chmod(0o755)

    def assert_quiet(self) -> None:
        """Nothing of it has run."""
        assert not self.sprung.exists(), self.sprung.read_text()


@pytest.fixture(params=["", "lib:.:HERE:"])
def trap(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Trap]:
    """Standing in a hostile folder, with search paths that lead into it."""
    made = Trap(tmp_path)
    if request.param:  # Python itself looks there for the first module, before Hostler begins
        (made.folder / "hostler.py").unlink()
    monkeypatch.chdir(made.folder)
    monkeypatch.setenv("PATH", f".::{os.environ['PATH']}:")
    monkeypatch.setenv("LD_LIBRARY_PATH", ":")
    monkeypatch.setenv("PYTHONPATH", request.param.replace("HERE", str(made.folder)))
    monkeypatch.setenv("GIT_EXEC_PATH", ".")
    (tmp_path / "config.toml").touch()
    monkeypatch.setenv("HOSTLER_CONFIG", "../config.toml")
    for name in ("HOSTLER_SOCKET", "TMUX", "STY"):
        monkeypatch.delenv(name, raising=False)
    with desk_folder() as folder:
        monkeypatch.setenv("HOSTLER_STATE", str(folder / "state"))
        yield made
    made.assert_quiet()


def started_in() -> set[str]:
    """Where the product starts programs, as FILE:FUNCTION."""
    found = set()
    for folder in ("core", "tui", "agents"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= {f"{path.relative_to(ROOT)}:{name}" for name in _starts(path)}
    return found


def _starts(path: Path) -> Iterator[str]:
    text = path.read_text()
    if not MAY_START.search(text):
        return
    tree = ast.parse(text)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_start(node.func):
            within = [f for f in functions if f.lineno <= node.lineno <= (f.end_lineno or 0)]
            yield min(within, key=lambda f: (f.end_lineno or 0) - f.lineno).name if within else ""


def _is_start(func: ast.expr) -> bool:
    if not isinstance(func, ast.Attribute):
        return isinstance(func, ast.Name) and func.id in STARTERS - {"run", "call", "start"}
    owner = func.value.id if isinstance(func.value, ast.Name) else ""
    if owner == "os":
        return func.attr.startswith(("exec", "spawn", "posix_spawn", "system", "popen"))
    if owner in ("subprocess", "pty"):
        return func.attr in STARTERS or func.attr == "spawn"
    return func.attr in STARTERS - {"run", "call"}


@pytest.mark.slow
def test_every_place_that_starts_a_program_is_tried() -> None:
    assert started_in() == set(STARTS)
    tests = {name for name in STARTS.values() if name.startswith("test_")}
    assert tests <= set(globals())
    for path, _, name in (told.partition("::") for told in STARTS.values() if "::" in told):
        assert f"def {name}(" in (ROOT / path).read_text()


def test_a_new_place_would_be_noticed(tmp_path: Path) -> None:
    code = tmp_path / "new.py"
    code.write_text(
        "def a():\n    subprocess.run(['x'])\n"
        "def b():\n    os.execvp('x', ['x'])\n"
        "async def c():\n    await asyncio.create_subprocess_exec('x')\n"
        "def d():\n    Popen(['x'])\n"
        "def e():\n    parser.run(1)\n"
    )
    assert set(_starts(code)) == {"a", "b", "c", "d"}


@pytest.fixture
def console(tmp_path: Path) -> Path:
    """`hostler` as an installer makes it."""
    script = tmp_path / "bin" / "hostler"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\nimport sys\nfrom hostler.cli import main\nsys.exit(main())\n"
    )
    script.chmod(0o755)
    return script


def test_a_daemon_takes_nothing_from_the_folder(trap: Trap, console: Path) -> None:
    try:
        ran = subprocess.run([console, "ps"], capture_output=True, text=True, timeout=60)
        trap.assert_quiet()
        assert ran.returncode == 0, ran
        about = _said([str(console), "daemon", "status", "--json"])["daemon"]
        assert Path(f"/proc/{about['pid']}/cwd").readlink() == Path("/")
        environ = dict(
            entry.split("=", 1)
            for entry in Path(f"/proc/{about['pid']}/environ").read_text().split("\0")
            if "=" in entry
        )
        assert all(part.startswith("/") for part in environ["PATH"].split(":"))
        assert "LD_LIBRARY_PATH" not in environ
        assert environ["HOSTLER_CONFIG"] == str(trap.folder.parent / "config.toml")
        typed = subprocess.run(own_argv("ps"), capture_output=True, text=True, timeout=60)
        assert typed.returncode == 0, typed
    finally:
        subprocess.run([console, "daemon", "stop"], capture_output=True, timeout=60)


def _said(argv: list[str]) -> Any:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


@pytest.mark.parametrize("trap", [""], indirect=True)
def test_a_demo_takes_nothing_from_the_folder(trap: Trap, console: Path) -> None:
    words = ("demo", "--hosts", "1", "--gpus", "1", "--no-runs", "--", "/bin/true")
    ran = subprocess.run([console, *words], capture_output=True, text=True, timeout=90)
    assert ran.returncode == 0, ran


@pytest.mark.parametrize("trap", [""], indirect=True)
async def test_the_screen_takes_nothing_from_the_folder(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await CommandTools().doctor("no.such")
    monkeypatch.setattr("builtins.input", lambda prompt: "")
    await asyncio.to_thread(trust_in_terminal, cast(HostlerApp, _Screenless()), "no.such")


class _Screenless:
    """As much of the screen as leaves the terminal to a command."""

    tools = CommandTools()

    def suspend(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def test_helpers_are_not_found_in_the_folder(
    trap: Trap, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # for what tmux does not take
    leave_folder()
    assert all(part.startswith("/") for part in os.environ["PATH"].split(":"))
    assert str(trap.folder) not in sys.path
    with contextlib.suppress(FileNotFoundError):  # no tmux on this machine
        clipboard.copy("text", lambda text: None, {"HOSTLER_CLIPBOARD": "tmux"})
    assert find_program("nvidia-ctk") in (None, shutil.which("nvidia-ctk", path="/usr/bin"))


def test_packing_runs_no_git_of_the_folder(trap: Trap, tmp_path: Path) -> None:
    (trap.folder / ".git").mkdir()
    with pytest.raises(InputError, match="git cannot read"):
        pack_source(trap.folder, temporary=tmp_path)


async def test_the_agent_of_this_machine_is_no_program_here(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(trap.folder))
    door = LocalDoor("here")
    await door.connect()
    stream = await door.exec_agent("exec python3 -I -S -c 'print(1)'")
    try:
        assert await stream.read() == b"1\n"
    finally:
        await stream.close()
        await door.close()


def test_an_environment_keeps_what_leads_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {
        "PATH": "/usr/bin::bin:/bin", "PYTHONPATH": f"/opt/lib:{tmp_path}:{tmp_path}/lib:rel",
        "LD_LIBRARY_PATH": ":/usr/local/cuda/lib64", "LD_PRELOAD": "libx.so ./y.so /z.so",
        "PYTHONHOME": "x", "XDG_STATE_HOME": "s", "HOSTLER_CONFIG": "c.toml", "OTHER": "./as-it-is",
    }  # fmt: skip
    assert safe_environ(given) == {
        "PATH": "/usr/bin:/bin", "PYTHONPATH": "/opt/lib", "OTHER": "./as-it-is",
        "LD_LIBRARY_PATH": "/usr/local/cuda/lib64", "LD_PRELOAD": "libx.so /z.so",
        "HOSTLER_CONFIG": str(tmp_path / "c.toml"),
    }  # fmt: skip


def test_hostlers_own_folder_stays_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert safe_environ({"PYTHONPATH": "core"})["PYTHONPATH"] == str(ROOT / "core")
