"""Virtual environments of process jobs: whose they are, and how long they stay."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from hostler_agent import venv
from hostler_agent.jobenv import venv_command
from tests.support.programs.agents import Agent, Place, eventually, serving
from tests.support.values.deep import dig

MONTHS = 90 * 86400.0


def made(agent: Agent, attempt: str, **files: str) -> Path:
    """A job's working folder with files; "_" stands for the dot of their names."""
    agent.ask("job.create", attempt_id=attempt, daemon_id="d1")
    work = agent.place.base / "jobs" / attempt / "work"
    for name, text in files.items():
        (work / name.replace("_", ".")).write_text(text)
    return work


def prepared(agent: Agent, work: Path) -> Path:
    """The environment for its requirements, as if it was built and used long ago."""
    folder = agent.place.base / "venvs" / venv.read(str(work / "requirements.txt"), {}).key
    (folder / "bin").mkdir(parents=True)
    (folder / ".hostler-ready").touch()
    aged(folder)
    return folder


def aged(folder: Path) -> None:
    long_ago = time.time() - MONTHS
    for path in (folder / ".hostler-ready", folder):
        os.utime(path, (long_ago, long_ago))


def test_gc_keeps_an_environment_that_is_used(agent: Agent) -> None:
    work = made(agent, "v-1", requirements_txt="# nothing\n")
    folder = prepared(agent, work)
    agent.job("v-1", ["sleep", "600"], venv="requirements.txt")
    eventually(lambda: time.time() - (folder / ".hostler-ready").stat().st_mtime < 3600)
    agent.ask("gc", keep=[], max_bytes=0)
    assert folder.is_dir(), "it was used just now"
    aged(folder)
    agent.ask("gc", keep=[], max_bytes=0)
    assert folder.is_dir(), "a job runs in it for months"
    agent.ask("job.stop", attempt_id="v-1", grace=0)
    agent.ask("gc", keep=[], max_bytes=0)
    assert not folder.exists()


def test_jobs_share_an_environment_at_the_same_time(agent: Agent) -> None:
    for attempt in ("v-1", "v-2"):
        work = made(agent, attempt, requirements_txt="# nothing\n")
        if attempt == "v-1":
            folder = prepared(agent, work)
        agent.job(attempt, ["sleep", "600"], venv="requirements.txt")
    lock = f"{folder}.lock"

    def holders() -> int:
        """Programs called sleep that have the lock open."""
        found = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                named = folder.joinpath("comm").read_text() == "sleep\n"
                opened = (
                    [os.readlink(fd) for fd in folder.joinpath("fd").iterdir()] if named else ()
                )
            except OSError:
                continue  # it has just ended
            found += lock in opened
        return found

    eventually(lambda: holders() == 2)
    for attempt in ("v-1", "v-2"):
        agent.ask("job.stop", attempt_id=attempt, grace=0)


def test_what_requirements_include_counts(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    top = tmp_path / "requirements.txt"
    top.write_text("-r deep/base.txt  # shared\nnumpy\n--constraint=limits.txt\n")
    (tmp_path / "deep" / "base.txt").write_text("torch==1\n-rmore.txt\n")
    (tmp_path / "deep" / "more.txt").write_text("-r base.txt\n")
    (tmp_path / "limits.txt").write_text("numpy<2\n")
    keys = {venv.read(str(top), {}).key}
    for name in ("deep/base.txt", "deep/more.txt", "limits.txt", "requirements.txt"):
        path = tmp_path / name
        path.write_text(path.read_text() + "pandas\n")
        keys.add(venv.read(str(top), {}).key)
    assert len(keys) == 5
    assert not venv.read(str(top), {}).local


@pytest.mark.parametrize(
    "line",
    [
        "-e .", "-e.", "--editable ./pkg", "--editable=pkg[extra]", ".", "./wheels/a-1.whl",
        "a-1-py3-none-any.whl", "a @ file:///w/a.whl", "../lib", "-f wheels", "--find-links=./w",
        "numpy \\\n -r local.txt" "\n./pkg",
    ],
)  # fmt: skip
def test_requirements_of_the_source_are_a_jobs_own(tmp_path: Path, line: str) -> None:
    """Another job would import the files of this one."""
    (tmp_path / "requirements.txt").write_text("-r more.txt\n")
    (tmp_path / "more.txt").write_text(f"numpy\n{line}\n")
    assert venv.read(str(tmp_path / "requirements.txt"), {}).local


@pytest.mark.parametrize(
    "line",
    [
        "numpy", "torch==2.1 ; python_version < '3.12'", "a[b]>=1 # ./not", "# -e .", "",
        "-e git+https://example.org/x.git@main#egg=x", "a @ https://example.org/a.whl",
        "--index-url https://example.org/simple/", "--find-links https://example.org/w/", "-i x/y",
        "--no-binary :all:",
    ],
)  # fmt: skip
def test_other_requirements_are_shared(tmp_path: Path, line: str) -> None:
    (tmp_path / "requirements.txt").write_text(f"{line}\n")
    assert not venv.read(str(tmp_path / "requirements.txt"), {}).local


@pytest.mark.parametrize("kind", ["missing", "fifo", "huge", "endless"])
def test_what_cannot_be_included_is_said_at_once(tmp_path: Path, kind: str) -> None:
    (tmp_path / "requirements.txt").write_text("-r other.txt\n")
    other = tmp_path / "other.txt"
    if kind == "fifo":
        os.mkfifo(other)
    elif kind == "huge":
        with other.open("wb") as file:
            file.truncate(1 << 30)
    elif kind == "endless":
        lines = [f"-r {n}.txt\n" for n in range(200)]
        other.write_text("".join(lines))
        for number in range(200):
            (tmp_path / f"{number}.txt").touch()
    with pytest.raises(venv.CannotBuild):
        venv.read(str(tmp_path / "requirements.txt"), {})


def test_a_jobs_own_environment_goes_with_the_job(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "r.txt").touch()
    words = venv_command(["python", "x.py"], str(tmp_path), "r.txt", "/venvs", "/agent")
    assert words == [
        sys.executable, "-I", "-S", "/agent/venv.py", "/venvs", str(tmp_path / "venv"),
        str(tmp_path / "work" / "r.txt"), "", "--", "python", "x.py",
    ]  # fmt: skip


@pytest.mark.slow
def test_it_is_built_once_and_by_pythons_own_modules(agent: Agent) -> None:
    """Modules of the source do not stand before them."""
    script = "import sys, os; print(sys.prefix); sys.exit('venvs' not in sys.prefix)"
    bad = "raise SystemExit('a module of the source was taken')\n"
    for attempt in ("v-1", "v-2"):
        made(
            agent, attempt, requirements_txt="# hostile\n", logging_py=bad, pip_py=bad, venv_py=bad
        )
        agent.job(
            attempt, ["python", "-c", script], venv="requirements.txt", env={"PYTHONPATH": "."}
        )
        ended = agent.ended(attempt, 200.0)
        (log,) = (agent.place.base / "jobs" / attempt).glob("log.*")
        assert ended["exit_code"] == 0, log.read_text()
        assert ("building" in log.read_text()) == (attempt == "v-1")


def test_nothing_of_the_folder_where_an_agent_starts_runs_in_it(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its modules, whatever PYTHONPATH says, nor programs by a PATH that begins here."""
    ran = tmp_path / "ran"
    for name in ("json", "logging", "pynvml", "hostler_agent", "sitecustomize", "venv", "ctypes"):
        (tmp_path / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write({name!r})\n")
    programs = ("bash", "conda", "env", "id", "mamba", "module", "rm", "setsid", "ssh")
    for name in ("nvidia-ctk", "nvidia-container-toolkit", "sshd", "runc", *programs):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {name} >> {ran}\n")
        program.chmod(0o755)
    place.variables.update(
        PYTHONPATH=".", PYTHONSTARTUP="json.py", PATH=f".::{os.environ['PATH']}", PYTHONHOME=""
    )
    monkeypatch.chdir(tmp_path)
    with serving(place) as agent:
        agent.look()
        agent.ask("doctor")
        agent.ask("stat", paths=["/"])
        agent.ask("gateway.reach", ssh=["-p", "1", "127.0.0.1"])
        agent.ask("environment", conda="no-such-environment", modules=["no-such-module"])
        agent.ask("environment", conda="no-such-environment")
        agent.job("v-1", ["true"])
        agent.ended("v-1")
        dig(place.base / "jobs" / "v-1")
        agent.ask("job.remove", attempt_id="v-1")
        assert not (place.base / "jobs" / "v-1").exists()
        pid = int(agent.process.pid)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert not ran.exists(), ran.read_text()


def test_the_key_is_of_what_pip_takes_from_variables(tmp_path: Path) -> None:
    """Else a stage gets what another one installed from another index."""
    (tmp_path / "base.txt").write_text("six\n")
    path = tmp_path / "requirements.txt"
    path.write_text("numpy\n")
    plain = venv.read(str(path), {"HOME": "/a"}).key
    assert plain == venv.read(str(path), {"HOME": "/b"}).key
    assert plain != venv.read(str(path), {"PIP_INDEX_URL": "https://a/"}).key
    path.write_text("--index-url https://${NAME}/\n")
    a, b = (venv.read(str(path), {"NAME": name}).key for name in "ab")
    assert a != b
    path.write_text("-r ${WHERE}/base.txt\n")
    found = venv.read(str(path), {"WHERE": str(tmp_path)})
    (tmp_path / "base.txt").write_text("six==1.16.0\n")
    assert found.key != venv.read(str(path), {"WHERE": str(tmp_path)}).key


def test_where_pip_reaches_no_index_it_is_said(tmp_path: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    said = venv.unreached(venv.Pip([], nowhere))
    assert said == ("; this host does not reach 127.0.0.1: [packages] in config.toml helps there")
    assert venv.unreached(venv.Pip([], {**nowhere, "HTTPS_PROXY": "http://x"})) == ""
    assert venv.unreached(venv.Pip(["--no-index"], nowhere)) == ""
    assert venv.unreached(venv.Pip([], {"PIP_INDEX_URL": "http://[x"})) == ""
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = f"http://127.0.0.1:{server.getsockname()[1]}/simple"
        assert venv.unreached(venv.Pip([], {"PIP_INDEX_URL": here})) == ""
