"""The frame around every screen, and what is true of the app as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler.quick.socket import Found
from hostler_tui.app import HostlerApp
from hostler_tui.lab import Lab
from hostler_tui.lines import text_of as text_of_line
from hostler_tui.widgets.frame import top_line
from tests.support.programs.simserved import SimServed, sim_served
from tests.support.screens.screen import text_of, until, until_shown
from tests.support.values.fleets import fleet, host


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServed]:
    with sim_served(tmp_path_factory.mktemp("lab")) as served:
        yield served


async def test_the_first_picture_is_marked_sim(lab: SimServed) -> None:
    app = HostlerApp(find=lambda: lab.found)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "GPUs 48")
        assert " SIM " in text_of(app).splitlines()[0]


async def test_why_this_is_not_the_shared_daemon_is_told(lab: SimServed) -> None:
    hint = "the shared daemon of this machine is for the group lab, and you are not in it"
    app = HostlerApp(find=lambda: Found(lab.found.path, lab.found.origin, hint))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: [n.text for n in app.lab.notices][:1] == [hint], "no notice")


async def test_a_tick_while_it_is_being_closed_is_nothing(lab: SimServed) -> None:
    app = HostlerApp(find=lambda: lab.found)
    async with app.run_test(size=(80, 24)):
        pass
    assert not app.screen_stack
    app._tick()


@pytest.mark.parametrize("width", range(40, 130, 5))
def test_how_fresh_it_is_stands_at_the_right_edge_at_every_width(width: int) -> None:
    lab = Lab()
    lab.see_fleet(fleet({**host("a", ""), "transport": "sim"}), 100.0)
    lab.alerts_open = 12
    said = text_of_line(top_line(lab, "history", False, width, 103.0))
    assert len(said) == width
    assert said.endswith("live 3s ")
    assert "HISTORY" in said


def test_all_tabs_fit_on_80_columns_beside_the_mark_of_a_simulated_lab() -> None:
    sim = fleet(host("atlas", "", transport="sim"))
    lab = Lab(fleet=sim, connected=True, fleet_seen_at=100.0, alerts_open=3)
    told = text_of_line(top_line(lab, "deploy", False, 80, 112.0))
    assert told.startswith(" hostler  SIM   1 fleet 2 queue 3 run 4 DEPLOY 5 history 6 alerts!3 ")
    assert told.endswith(" live 12s ")
    assert len(told) == 80
    narrow = text_of_line(top_line(lab, "deploy", False, 60, 112.0))
    assert narrow.startswith(" hostler  SIM   DEPLOY ")
