"""Deploying from the screen, against a daemon on a simulated lab: two releases, one rolled back."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from hostler.base.errors import NotFoundError
from hostler_tui.app import HostlerApp
from hostler_tui.deploy.screen import DeployScreen
from hostler_tui.widgets.form import Form
from hostler_tui.widgets.modal import Confirm
from tests.support.programs.simserved import SimServed, sim_served
from tests.support.screens.screen import text_of, until, until_shown

SERVICE = """
name = "web"
[defaults]
code = "none"
[stages.serve]
kind = "service"
command = "serve"
health = "/"
env = { SIM = "seconds=600 ready=0.1", MODEL = "small" }
"""
SLOW = 30.0


async def _form(pilot: Pilot[int], *keys: str) -> None:
    """The file was chosen; the form is filled in."""
    await pilot.press("d")
    await until_shown(pilot, "Which pipeline?")
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, Form), "no form")
    await pilot.press(*keys, "enter")


async def _live(pilot: Pilot[int], lab: SimServed, number: int) -> None:
    def is_live() -> bool:
        try:
            releases = lab.client().releases("web")
        except NotFoundError:
            return False  # the screen has not sent the first one yet
        return (releases[0].number, releases[0].state) == (number, "live")

    await until(pilot, is_live, f"release {number} is not live", SLOW)


def _rows(app: HostlerApp) -> list[str]:
    screen = app.screen
    assert isinstance(screen, DeployScreen)
    return [row.key for row in screen.table("releases").rows]


async def test_two_releases_are_deployed_after_their_plans_and_the_first_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "serve.toml").write_text(SERVICE)
    monkeypatch.chdir(tmp_path / "work")
    with sim_served(tmp_path, look_interval=0.2) as lab:
        app = HostlerApp(find=lambda: lab.found)
        async with app.run_test(size=(110, 30)) as pilot:
            await until(pilot, lambda: app.lab.is_live, "no daemon")
            await pilot.press("4")
            await until_shown(pilot, "No services yet.")
            await _form(pilot, "enter", *"wrong", "enter")
            await until_shown(pilot, "'wrong' is no strategy")
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, Form), "not back at the form")
            await pilot.press("enter", "ctrl+u", "enter", "enter")
            await until_shown(pilot, "web is new", SLOW)
            await pilot.press("right", "enter")
            await _live(pilot, lab, 1)
            await until(pilot, lambda: isinstance(app.screen, DeployScreen), "it stayed", SLOW)
            await until(pilot, lambda: _rows(app) == ["1"], "no release is shown", SLOW)
            await _form(pilot, *"MODEL=large", "enter", "enter")
            await until_shown(pilot, "serve.env.MODEL: small -> large", SLOW)
            assert "web does not answer" in text_of(app)
            await pilot.press("right", "enter")
            await _live(pilot, lab, 2)
            await until(pilot, lambda: isinstance(app.screen, DeployScreen), "it stayed", SLOW)
            await until(pilot, lambda: _rows(app) == ["2", "1"], "no release is shown", SLOW)
            await until_shown(pilot, "< rollback target", SLOW)
            await pilot.press("R")
            await until(pilot, lambda: isinstance(app.screen, Confirm), "no dialog", SLOW)
            await until_shown(pilot, "serve.env.MODEL: large -> small")
            await pilot.press(*"web", "tab", "tab", "enter")
            await _live(pilot, lab, 3)
