"""Wheels that the daemon has fetched, in the folders of jobs."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from hostler.link.answers import checked
from hostler.wheels.target import read_target
from hostler_agent import jobenv, venv
from tests.support.programs.agents import Agent, AgentSaysNo

WHEEL = "apple-1.0-py3-none-any.whl"
CREATE = {"daemon_id": "d1"}


def asked(agent: Agent, attempt: str = "w-1", file: str = "requirements.txt") -> dict[str, Any]:
    answer: dict[str, Any] = agent.ask("job.packages", attempt_id=attempt, create=CREATE, venv=file)
    return checked("gpu1", "job.packages", answer)


def made(agent: Agent, text: str = "apple==1.0\n", attempt: str = "w-1") -> Path:
    agent.ask("job.create", attempt_id=attempt, daemon_id="d1")
    folder = agent.place.base / "jobs" / attempt
    (folder / "work" / "requirements.txt").write_text(text)
    return folder


def cached(agent: Agent, data: bytes = b"wheel") -> str:
    digest = hashlib.sha256(data).hexdigest()
    (agent.place.base / "blobs" / digest).write_bytes(data)
    return digest


def test_what_is_wanted_and_for_which_python(agent: Agent) -> None:
    made(agent)
    answer = asked(agent)
    assert answer["text"] == "apple==1.0\n"
    target = read_target(answer["python"])
    assert target.version == ".".join(map(str, sys.version_info[:2]))
    assert target.markers["python_version"] == target.version
    assert target.glibc is not None
    assert target.platforms[-1] == f"linux_{os.uname().machine}"


@pytest.mark.parametrize("kind", ["missing", "fifo", "huge"])
def test_requirements_that_cannot_be_read(agent: Agent, kind: str) -> None:
    path = made(agent) / "work" / "requirements.txt"
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "huge":
        path.write_bytes(b"#" * (300 * 1024))
    with pytest.raises(AgentSaysNo) as no:
        asked(agent)
    assert no.value.kind == "InputError"


def test_wheels_stay_when_the_cache_is_cleared(agent: Agent) -> None:
    folder, digest = made(agent), cached(agent)
    wheels = [{"name": WHEEL, "digest": digest}]
    for _ in range(2):
        agent.ask("job.wheels", attempt_id="w-1", wheels=wheels)
    agent.ask("gc", keep=[], max_bytes=0)
    assert not (agent.place.base / "blobs" / digest).exists()
    assert (folder / jobenv.WHEELS / WHEEL).read_bytes() == b"wheel"
    assert json.loads((folder / jobenv.WHEELS / venv.WHEELS_LIST).read_text()) == [[WHEEL, digest]]


def test_nothing_is_needed_for_an_environment_that_is_there(agent: Agent) -> None:
    folder, wheels = made(agent), [{"name": WHEEL, "digest": "0" * 64}]
    ask: dict[str, Any] = {"attempt_id": "w-1", "wheels": wheels, "only_if_ready": True}
    assert agent.ask("job.wheels", **ask) == {"ready": False}
    assert not (folder / jobenv.WHEELS).exists()
    there = Path(venv.environment_of(str(agent.place.base / "venvs"), [(WHEEL, "0" * 64)]))
    there.mkdir()
    (there / venv.READY).touch()
    os.utime(there / venv.READY, (1, 1))
    assert agent.ask("job.wheels", **ask) == {"ready": True}
    assert [path.name for path in (folder / jobenv.WHEELS).iterdir()] == [venv.WHEELS_LIST]
    assert (there / venv.READY).stat().st_mtime > 1, "it ages from now on"


@pytest.mark.parametrize("name", ["../a.whl", "a.tar.gz", "wheels.json", "/a.whl", "a b.whl", ""])
def test_other_names_are_refused(agent: Agent, name: str) -> None:
    folder, digest = made(agent), cached(agent)
    with pytest.raises(AgentSaysNo):
        agent.ask("job.wheels", attempt_id="w-1", wheels=[{"name": name, "digest": digest}])
    assert not (folder / jobenv.WHEELS).exists()


def test_nothing_starts_without_them_and_nothing_is_placed_later(agent: Agent) -> None:
    folder = made(agent)
    gone = [{"name": WHEEL, "digest": "0" * 64}]
    with pytest.raises(AgentSaysNo, match="is not cached here"):
        agent.ask("job.wheels", attempt_id="w-1", wheels=gone)
    with pytest.raises(AgentSaysNo, match="were not placed"):
        agent.job("w-1", ["true"], venv="requirements.txt", wheels=True)
    agent.job("w-1", ["sleep", "600"])
    assert asked(agent) == {"started": True}
    agent.ask("job.wheels", attempt_id="w-1", wheels=[{"name": WHEEL, "digest": cached(agent)}])
    assert list((folder / jobenv.WHEELS).iterdir()) == []
    agent.ask("job.stop", attempt_id="w-1", grace=0)


def test_an_environment_that_cannot_be_built_says_so_by_its_exit_code(agent: Agent) -> None:
    """The pip of the tests stands for one that the daemon has fetched: to install one into the
    environment first takes seconds."""
    folder, pip = made(agent), "pip-1.0-py3-none-any.whl"
    wheels = [{"name": name, "digest": cached(agent)} for name in (WHEEL, pip)]
    agent.ask("job.wheels", attempt_id="w-1", wheels=wheels)
    (folder / jobenv.WHEELS / pip).unlink()
    (folder / jobenv.WHEELS / pip).mkdir()
    (folder / jobenv.WHEELS / pip / "pip").symlink_to(f"{sysconfig.get_path('purelib')}/pip")
    agent.job("w-1", ["true"], venv="requirements.txt", wheels=True)
    assert agent.ended("w-1", 100.0)["exit_code"] == 125
    (log,) = folder.glob("log.*")
    *said, last = log.read_text().splitlines()
    assert last.startswith("hostler: no virtual environment from requirements.txt: pip install ")
    assert any(line.startswith("ERROR: ") for line in said), said
