"""Setups of process jobs by the real agent: built once, waited for, ended, never half taken."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import setupfiles
from hostler_agent.setupkey import Asked, Key, key_of
from hostler_agent.venv import CannotBuild
from tests.support.programs.agents import Agent, AgentSaysNo, Place, eventually, serving

pytestmark = pytest.mark.programs

PYTHON = """#!/bin/sh
case "$2" in
    -S) echo "3.9 of a test" ;;
    *) for folder in "$@"; do :; done; mkdir -p "$folder/bin"; ln -s "$0" "$folder/bin/python" ;;
esac
"""
"""Stands for a Python: it makes a virtual environment in no time."""
MARK = 'echo made >> "$VIRTUAL_ENV/marker"; echo built'


def prepare(agent: Agent, attempt: str, text: str, **more: Any) -> dict[str, Any]:
    setup: dict[str, Any] = {"text": text, "files": None, "timeout": more.pop("timeout", 600.0)}
    created = {
        "daemon_id": "d1", "run_id": "r", "stage": "s", "owner": more.pop("owner", "me"),
        "gpus": more.pop("gpus", []), "grace": more.pop("grace", 0.3),
        "here": more.pop("here", None),
    }  # fmt: skip
    env = {"PATH": f"{fake_python(agent.place.base.parent)}:{os.environ['PATH']}"}
    payload = {"attempt_id": attempt, "create": created, "env": env, "setup": setup, **more}
    answer: dict[str, Any] = agent.ask("job.prepare", payload)
    return answer


def fake_python(folder: Path) -> Path:
    path = folder / "python" / "python3"
    path.parent.mkdir(exist_ok=True)
    path.write_text(PYTHON)
    path.chmod(0o755)
    return path.parent


def ended(agent: Agent, attempt: str, seconds: float = 60.0) -> dict[str, Any]:
    def asked() -> dict[str, Any] | None:
        found: dict[str, Any] = agent.ask("job.prepare", attempt_id=attempt)
        return None if found["state"] == "running" else found

    answer: dict[str, Any] = eventually(asked, seconds)
    return answer


def log(agent: Agent, attempt: str) -> str:
    answer = agent.ask("job.log", attempt_id=attempt, offset=0, wait=0)
    return base64.b64decode(answer["data"]).decode()


def home(agent: Agent, attempt: str) -> Path:
    return agent.place.base / "jobs" / attempt


def environment(agent: Agent, attempt: str) -> Path:
    return Path((home(agent, attempt) / "setup" / "environment").read_text())


def test_a_setup_is_done_once_and_the_command_finds_its_environment(agent: Agent) -> None:
    assert prepare(agent, "s-1", MARK) == {"state": "running"}
    assert ended(agent, "s-1") == {"state": "ready"}
    assert "built\n" in log(agent, "s-1")
    made = environment(agent, "s-1")
    assert made.parent == agent.place.base / "venvs"
    (workload,) = agent.look()["workloads"]
    assert workload["created_only"], "no look takes a setup for the command"
    script = 'echo "in $VIRTUAL_ENV"; command -v python; cat "$VIRTUAL_ENV/marker"'
    agent.job("s-1", ["sh", "-c", script], setup=True)
    agent.ended("s-1")
    assert log(agent, "s-1").endswith(f"in {made}\n{made}/bin/python\nmade\n")
    prepare(agent, "s-2", MARK)
    assert ended(agent, "s-2") == {"state": "ready"}
    assert environment(agent, "s-2") == made
    assert "built" not in log(agent, "s-2")
    assert (made / "marker").read_text() == "made\n"


def test_a_failed_setup_tells_its_code_and_leaves_no_environment(agent: Agent) -> None:
    prepare(agent, "s-1", "echo trying\nfalse\necho never")
    found = ended(agent, "s-1")
    assert (found["state"], found["exit_code"], found["late"]) == ("failed", 1, False)
    assert "trying\n" in log(agent, "s-1")
    assert "never" not in log(agent, "s-1")
    assert [path for path in (agent.place.base / "venvs").iterdir() if path.is_dir()] == []
    with pytest.raises(AgentSaysNo, match="has not ended"):
        agent.job("s-1", ["true"], setup=True)


def test_a_setup_that_hangs_is_ended_at_its_limit(agent: Agent) -> None:
    prepare(agent, "s-1", "trap '' TERM; sleep 600 & echo $! > pid; wait; sleep 600", timeout=2)
    found = ended(agent, "s-1")
    assert (found["state"], found["late"]) == ("failed", True)
    pid = _read(home(agent, "s-1") / "work" / "pid")
    eventually(lambda: not pid or not Path(f"/proc/{pid}").exists(), 60)


def test_one_of_two_attempts_builds_and_the_other_says_that_it_waits(agent: Agent) -> None:
    text = f'{MARK}; while ! test -e "{agent.place.base}/go"; do sleep 0.02; done'
    prepare(agent, "s-1", text)
    eventually(lambda: "built" in log(agent, "s-1"), 60)
    prepare(agent, "s-2", text)
    eventually(lambda: "waiting for another attempt" in log(agent, "s-2"), 60)
    (agent.place.base / "go").touch()
    assert ended(agent, "s-1") == ended(agent, "s-2") == {"state": "ready"}
    assert environment(agent, "s-1") == environment(agent, "s-2")
    assert (environment(agent, "s-1") / "marker").read_text() == "made\n"


def test_half_an_environment_is_built_anew(agent: Agent) -> None:
    text = f'test -e "{agent.place.base}/go" || (touch "$VIRTUAL_ENV/half"; kill -9 0)'
    prepare(agent, "s-1", text)
    assert ended(agent, "s-1")["exit_code"] == 128 + signal.SIGKILL
    (agent.place.base / "go").touch()
    prepare(agent, "s-2", text)
    assert ended(agent, "s-2") == {"state": "ready"}
    assert not (environment(agent, "s-2") / "half").exists()


def test_removing_an_attempt_ends_its_setup(agent: Agent) -> None:
    prepare(agent, "s-1", f'echo $$ > "{agent.place.base}/pid"; exec sleep 600')
    pid = eventually(lambda: _read(agent.place.base / "pid"), 60)
    told = agent.ask("clean", daemon_id="d1", dry_run=False)
    assert told == {"found": [], "busy": "the setup of job s-1 is running"}
    agent.ask("job.remove", attempt_id="s-1")
    assert not home(agent, "s-1").exists()
    eventually(lambda: not Path(f"/proc/{pid}").exists(), 60)


def test_another_agent_finds_the_setup_that_runs(place: Place) -> None:
    with serving(place) as first:
        prepare(first, "s-1", f'while ! test -e "{place.base}/go"; do sleep 0.02; done; {MARK}')
    with serving(place) as second:
        text = "echo another"
        assert prepare(second, "s-1", text) == {"state": "running"}
        (place.base / "go").touch()
        assert ended(second, "s-1") == {"state": "ready"}
        assert "another" not in log(second, "s-1")
        assert (environment(second, "s-1") / "marker").exists()


def test_a_setup_sees_no_gpu_and_gets_secrets_that_do_not_count(agent: Agent) -> None:
    def value(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    told = 'echo "[$CUDA_VISIBLE_DEVICES] [$HOSTLER_GPUS] $PIP_TOKEN"'
    for number, token in enumerate(("first-token", "other-token"), 1):
        secrets = {"secrets": {"PIP_TOKEN": value(token)}, "secret_variables": ["PIP_TOKEN"]}
        prepare(agent, f"s-{number}", told, gpus=["GPU-0"], **secrets)
        assert ended(agent, f"s-{number}") == {"state": "ready"}
    assert "[] [] first-token\n" in log(agent, "s-1")
    assert environment(agent, "s-1") == environment(agent, "s-2")
    for path in home(agent, "s-1").rglob("*"):
        assert "log." in path.name or not path.is_file() or b"first-token" not in path.read_bytes()


def test_a_setup_whose_supervisor_was_killed_counts_by_what_it_made(agent: Agent) -> None:
    go = agent.place.base / "go"
    text = f'echo $PPID > "{go}.pid"; while ! test -e "{go}"; do sleep 0.02; done'
    prepare(agent, "s-1", text)
    builder = eventually(lambda: _read(Path(f"{go}.pid")), 60)
    shim = Path(f"/proc/{builder}/stat").read_text().rpartition(")")[2].split()[1]
    os.kill(int(shim), signal.SIGKILL)
    assert agent.ask("job.prepare", attempt_id="s-1") == {"state": "running"}
    go.touch()
    assert ended(agent, "s-1") == {"state": "ready"}


def test_files_of_the_submitters_own_folder_count(agent: Agent, tmp_path: Path) -> None:
    found = set()
    for number, text in enumerate(("numpy", "numpy", "numpy<2"), 1):
        (tmp_path / "requirements.txt").write_text(text)
        more = {"cwd": str(tmp_path), "here": str(tmp_path)}
        prepare(agent, f"s-{number}", ": pip install -r requirements.txt", **more)
        assert ended(agent, f"s-{number}") == {"state": "ready"}, log(agent, f"s-{number}")
        found.add(environment(agent, f"s-{number}"))
    assert len(found) == 2
    setup = {"text": "true", "files": ["requirements.txt"], "timeout": 60}
    prepare(agent, "s-4", "", here=str(tmp_path), cwd=str(tmp_path), setup=setup)
    assert ended(agent, "s-4") == {"state": "ready"}


def test_what_a_setup_makes_in_the_working_folder_is_no_result(agent: Agent) -> None:
    made = "mkdir -p built/deep; echo 1 > built/deep/file; ln -s nowhere link"
    prepare(agent, "s-1", made)
    assert ended(agent, "s-1") == {"state": "ready"}
    agent.job("s-1", ["sh", "-c", "echo 2 > own"], setup=True)
    agent.ended("s-1")
    lines = (home(agent, "s-1") / "placed.json").read_text().splitlines()
    assert sorted(json.loads(line)[0] for line in lines) == ["built/deep/file", "link"]


def test_a_setup_is_done_over_the_conda_environment_that_a_stage_names(
    place: Place, short_folder: Path
) -> None:
    """Its Python makes the environment, in which its packages are seen."""
    prefix = short_folder / "home" / "miniconda3" / "envs" / "subt"
    (prefix / "conda-meta").mkdir(parents=True)
    (prefix.parents[1] / "conda-meta").mkdir()
    text = PYTHON.replace("mkdir -p", 'echo "made $4"; mkdir -p')
    fake_python(prefix).joinpath("python3").write_text(text)
    (prefix / "python").rename(prefix / "bin")
    place.variables["HOME"] = str(short_folder / "home")
    with serving(place) as agent:
        prepare(agent, "s-1", 'echo "in $CONDA_DEFAULT_ENV"', conda="subt")
        assert ended(agent, "s-1") == {"state": "ready"}, log(agent, "s-1")
        assert "made --system-site-packages\nin subt\n" in log(agent, "s-1")
        shown = 'echo "$CONDA_DEFAULT_ENV $VIRTUAL_ENV"; command -v python'
        agent.job("s-1", ["sh", "-c", shown], setup=True, conda="subt")
        agent.ended("s-1")
        made = environment(agent, "s-1")
        assert log(agent, "s-1").endswith(f"subt {made}\n{made}/bin/python\n")


def test_owners_do_not_share_an_environment(agent: Agent) -> None:
    for attempt, owner in (("s-1", "me"), ("s-2", "you")):
        prepare(agent, attempt, MARK, owner=owner)
        assert ended(agent, attempt) == {"state": "ready"}
    assert environment(agent, "s-1") != environment(agent, "s-2")


def test_what_is_installed_from_the_working_folder_stays_with_the_attempt(agent: Agent) -> None:
    prepare(agent, "s-1", ": pip install -e .")
    assert ended(agent, "s-1") == {"state": "ready"}
    assert environment(agent, "s-1") == home(agent, "s-1") / "venv"
    assert "for this attempt alone" in log(agent, "s-1")


def _read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


class TestKey:
    """What decides which environment a setup gets."""

    @staticmethod
    def key(root: Path, text: str = "pip install -r requirements.txt", **more: Any) -> Key:
        env = more.pop("env", {})
        return key_of(Asked(text, more.pop("files", None), str(root), str(root), ("me",), env))

    def test_files_that_count(self, tmp_path: Path) -> None:
        before = self.key(tmp_path)
        (tmp_path / "train.py").write_text("1")
        assert self.key(tmp_path) == before
        for name in ("requirements.txt", "uv.lock", "pyproject.toml", "requirements/gpu.txt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("numpy\n")
            assert self.key(tmp_path) != before, name
            before = self.key(tmp_path)

    def test_files_that_are_included_or_named_by_the_text(self, tmp_path: Path) -> None:
        (tmp_path / "requirements.txt").write_text("-r deps/base.in\n")
        (tmp_path / "deps").mkdir()
        (tmp_path / "deps" / "base.in").write_text("numpy\n")
        (tmp_path / "install.sh").write_text("one")
        found = {self.key(tmp_path, "bash install.sh")}
        (tmp_path / "deps" / "base.in").write_text("numpy<2\n")
        found.add(self.key(tmp_path, "bash install.sh"))
        (tmp_path / "install.sh").write_text("other")
        found.add(self.key(tmp_path, "bash install.sh"))
        assert len(found) == 3

    def test_only_named_files_count(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("1")
        before = self.key(tmp_path, files=["a"])
        (tmp_path / "requirements.txt").write_text("numpy\n")
        assert self.key(tmp_path, files=["a"]) == before
        (tmp_path / "a").write_text("2")
        assert self.key(tmp_path, files=["a"]) != before
        with pytest.raises(CannotBuild, match="missing"):
            self.key(tmp_path, files=["missing"])

    @pytest.mark.parametrize(
        ("text", "local"),
        [
            ("pip install -r requirements.txt", False),
            ("pip install datasets", False),
            ("pip install -e .", True),
            ("pip install -r a.txt \\\n --editable libs", True),
            ("test -e /data && pip install torch", False),
            ("pip install .[dev]", True),
            ("pip install ./datasets", True),
            ("cd datasets && pip install torch", True),
            ("uv sync", True),
            ("uv sync --no-install-project", False),
            ("pip install 'unbalanced", False),
            ("install " * 8000, False),
            ("a" * 1_000_000, False),  # of this `shlex` would take a minute
        ],
    )
    def test_what_binds_it_to_the_attempt(self, tmp_path: Path, text: str, local: bool) -> None:
        (tmp_path / "datasets").mkdir()
        assert self.key(tmp_path, text).local is local

    def test_settings_of_pip_count(self, tmp_path: Path) -> None:
        assert self.key(tmp_path) != self.key(tmp_path, env={"PIP_INDEX_URL": "https://x"})
        assert self.key(tmp_path) == self.key(tmp_path, env={"OTHER": "1"})

    def test_a_fifo_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "f")
        with pytest.raises(CannotBuild, match="not a plain file"):
            self.key(tmp_path, files=["f"])


def test_the_builder_is_found_without_the_folder_where_it_starts(tmp_path: Path) -> None:
    """A stage's own module of that name is not run in its place."""
    from hostler_agent import setupenv

    (tmp_path / "hostler_agent").mkdir()
    (tmp_path / "hostler_agent" / "__init__.py").write_text("raise SystemExit(7)")
    done = subprocess.run(
        [sys.executable, "-I", "-S", setupenv.__file__, "run", str(tmp_path / "e"), "--", "true"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 125
    assert "was removed during the start" in done.stdout


def test_files_that_go_while_they_are_noted_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "there").write_text("")
    monkeypatch.setattr(os, "walk", lambda top: [(top, [], ["gone", "there"])])
    setupfiles.note(str(tmp_path))
    assert '["there",' in "".join(path.read_text() for path in tmp_path.iterdir() if path != work)
