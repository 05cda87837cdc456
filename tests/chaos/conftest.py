from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.watch import Watch, put_proxies
from tests.lab.lab import Lab
from tests.support.machines.desk import Desk, desk_folder
from tests.support.machines.labfixture import need_lab, own_name


@pytest.fixture(scope="session")
def chaos_lab() -> Iterator[Lab]:
    """Three hosts with recording proxies before their Dockers."""
    need_lab()
    lab = Lab.up(3, name=own_name("c"), owned=True)
    try:
        put_proxies(lab)
        yield lab
    finally:
        lab.down()


@pytest.fixture
def watch(chaos_lab: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Watch]:
    """Ana's desk at a lab in its first state, recorded; HOSTLER_CHAOS_KEEP keeps the histories."""
    chaos_lab.reset()
    folder = Path(os.environ.get("HOSTLER_CHAOS_KEEP", tmp_path))
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    file = folder / f"{name}.jsonl"
    file.unlink(missing_ok=True)
    with desk_folder() as home:
        desk = Desk.at_lab(chaos_lab, home)
        watched = Watch(chaos_lab, desk, file)
        try:
            yield watched
        finally:
            watched.close()
            desk.close()
