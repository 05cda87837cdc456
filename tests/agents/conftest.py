"""Made-up hosts for the agent: folders, GPUs from the fake NVML; made-up scenes for claims."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler_agent.claims import Claims
from hostler_agent.leases import Leases
from tests.support.programs.agents import Agent, Place, serving
from tests.support.programs.fake_nvml import FakeNvml, build
from tests.support.values.claiming import Scene


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ha-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def gpus(short_folder: Path) -> FakeNvml:
    """Two GPUs."""
    return FakeNvml(short_folder / "nvml", 2)


@pytest.fixture
def place(short_folder: Path, gpus: FakeNvml) -> Place:
    """A host with these GPUs and no Docker."""
    made = Place(short_folder)
    made.variables.update(gpus.env(build()))
    return made


@pytest.fixture
def agent(place: Place) -> Iterator[Agent]:
    """An agent that serves there."""
    with serving(place) as running:
        yield running


@pytest.fixture
def scene() -> Scene:
    """What claims see."""
    return Scene()


@pytest.fixture
def folder(tmp_path: Path) -> Leases:
    """Of a machine on which nobody has claimed anything yet."""
    return Leases(str(tmp_path / "hostler" / "leases"))


@pytest.fixture
def claims(folder: Leases, scene: Scene) -> Claims:
    """In that folder, of that scene."""
    return Claims(folder, scene.sight())
