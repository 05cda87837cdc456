"""Conda environments that are built from a file of the source, by a stand-in for conda."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostler_agent.condaenvs import creation
from hostler_agent.setupkey import Asked, key_of
from tests.support.programs.agents import Agent, Place, eventually, serving

CONDA = """#!/bin/sh
# conda env create --quiet --prefix PREFIX --file FILE
test "$CONDA_ALWAYS_YES" = true && test "$1$2" = envcreate || exit 9
echo solving
grep -q broken "$7" && exit 1
mkdir -p "$5/conda-meta" "$5/bin" && cp "$7" "$5/file"
"""
FILE = "name: x\ndependencies:\n  - python=3.12\n  - pip:\n    - -r requirements.txt\n"


@pytest.fixture
def home(place: Place, short_folder: Path) -> Path:
    """The login's home, with a conda in it."""
    folder = short_folder / "home"
    (folder / "miniconda3" / "bin").mkdir(parents=True)
    (folder / "miniconda3" / "conda-meta").mkdir()
    program = folder / "miniconda3" / "bin" / "conda"
    program.write_text(CONDA)
    program.chmod(0o755)
    place.variables["HOME"] = str(folder)
    return folder


@pytest.fixture
def agent(place: Place, home: Path) -> Iterator[Agent]:
    """An agent of that login."""
    with serving(place) as running:
        yield running


def job(agent: Agent, attempt: str) -> Path:
    return agent.place.base / "jobs" / attempt


def prepared(agent: Agent, attempt: str, file: str = FILE, text: str = "") -> dict[str, Any]:
    """How the building for an attempt ended."""
    created = {"daemon_id": "d1", "run_id": "r", "stage": "s", "owner": "me", "gpus": []}
    agent.ask("job.create", {"attempt_id": attempt, **created})
    (job(agent, attempt) / "work" / "environment.yml").write_text(file)
    setup = {"text": text, "files": None, "timeout": 60.0, "conda": "environment.yml"}
    agent.ask("job.prepare", {"attempt_id": attempt, "create": created, "setup": setup})

    def asked() -> dict[str, Any] | None:
        found: dict[str, Any] = agent.ask("job.prepare", attempt_id=attempt)
        return None if found["state"] == "running" else found

    answer: dict[str, Any] = eventually(asked, 60)
    return answer


def log(agent: Agent, attempt: str) -> str:
    return "".join(path.read_text() for path in sorted(job(agent, attempt).glob("log.*")))


def test_conda_is_found_where_only_a_login_shell_has_it(agent: Agent, home: Path) -> None:
    (home / "tools").mkdir()
    (home / "miniconda3" / "bin" / "conda").rename(home / "tools" / "conda")
    (home / ".profile").write_text(f'export PATH="{home}/tools:$PATH"\n')
    assert prepared(agent, "c-1") == {"state": "ready"}, log(agent, "c-1")
    assert f"with {home}/tools/conda" in log(agent, "c-1")


def test_an_environment_is_built_once_for_the_same_file(agent: Agent) -> None:
    assert prepared(agent, "c-1", text='echo more > "$CONDA_PREFIX/more"') == {"state": "ready"}
    assert "solving\n" in log(agent, "c-1")
    script = 'echo "in $CONDA_PREFIX"; cat "$CONDA_PREFIX/more"; echo "${VIRTUAL_ENV-none}"'
    agent.job("c-1", ["sh", "-c", script], setup=True)
    assert agent.ended("c-1")["exit_code"] == 0
    made = (job(agent, "c-1") / "setup" / "environment").read_text()
    assert Path(made).parent == agent.place.base / "venvs"
    assert log(agent, "c-1").endswith(f"in {made}\nmore\nnone\n")
    prepared(agent, "c-2", text='echo more > "$CONDA_PREFIX/more"')
    assert "solving" not in log(agent, "c-2")
    prepared(agent, "c-3", file=FILE + "  - gdal\n")
    assert "solving" in log(agent, "c-3")
    assert (job(agent, "c-3") / "setup" / "environment").read_text() != made


def test_a_file_that_cannot_be_built_is_told_and_leaves_nothing(agent: Agent, home: Path) -> None:
    found = prepared(agent, "c-1", file="broken\n")
    assert (found["state"], found["exit_code"]) == ("failed", 125)
    assert log(agent, "c-1").splitlines()[-1] == (
        f"hostler: no environment for setup: {home}/miniconda3/bin/conda did not build the "
        "environment of environment.yml; the log says why"
    )
    assert [path for path in (agent.place.base / "venvs").iterdir() if path.is_dir()] == []
    (home / "miniconda3" / "bin" / "conda").unlink()
    assert prepared(agent, "c-2")["exit_code"] == 125
    assert "has no conda, mamba or micromamba to build environment.yml" in log(agent, "c-2")


@pytest.mark.parametrize(
    ("line", "local"),
    [("- -e .", True), ("- .", True), ("- ./wheels/a.whl", True), ("- '-e ./lib'", True),
     ("- -r requirements.txt", False), ("- pip", False), ("- --no-binary x", False)],
)  # fmt: skip
def test_an_environment_with_files_of_the_source_is_one_attempts_own(
    tmp_path: Path, line: str, local: bool
) -> None:
    (tmp_path / "env.yml").write_text(f"dependencies:\n  - pip:\n    {line}\n")
    root = str(tmp_path)
    assert key_of(Asked("", None, root, root, (), {}, "env.yml")).local is local


def test_each_program_is_asked_in_its_own_words() -> None:
    assert creation("/x/micromamba", "/p", "f.yml")[1:3] == ["create", "--yes"]
    assert creation("/x/conda", "/p", "f.yml")[1:3] == ["env", "create"]
