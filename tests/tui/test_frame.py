"""The frame around every screen, and what is true of the app as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler_tui.app import HostlerApp
from tests.support.screen import text_of, until_shown
from tests.support.simserved import SimServed, sim_served


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimServed]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with sim_served(tmp_path) as served:
        yield served


async def test_the_first_picture_is_marked_sim(lab: SimServed) -> None:
    app = HostlerApp(find=lambda: lab.found)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "GPUs 48")
        assert " SIM " in text_of(app).splitlines()[0]
