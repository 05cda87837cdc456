"""Screens while they are being made, and dialogs while they go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostler_tui.app import HostlerApp
from hostler_tui.submit.screen import WorkScreen
from hostler_tui.widgets.form import Form
from hostler_tui.widgets.modal import Confirm, Modal
from tests.support.screens.screen import no_daemon, until


class Quiet(HostlerApp):
    """Asks nobody."""

    def __init__(self) -> None:
        super().__init__(find=no_daemon)

    def _connect(self) -> None:  # type: ignore[override]
        """Nobody is there."""


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize("mode", HostlerApp.MAIN_SCREENS)
async def test_each_main_screen_can_be_the_first(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its widgets may be made before its turn comes, as they are from Python 3.12 on."""
    monkeypatch.setattr(Quiet, "DEFAULT_MODE", mode)
    app = Quiet()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: getattr(app.screen, "is_whole", False), "not made")
        assert app.current_mode == mode
    assert app.return_code in (None, 0)


@pytest.mark.parametrize("mode", HostlerApp.MAIN_SCREENS)
async def test_each_main_screen_is_gone_to_and_left_again(mode: str) -> None:
    app = Quiet()
    async with app.run_test(size=(80, 24)) as pilot:
        app.action_go(mode)
        await until(pilot, lambda: getattr(app.screen, "is_whole", False), "not made")
        app.action_go("fleet")
        await pilot.pause()
        assert app.current_mode == "fleet"
    assert app.return_code in (None, 0)


async def test_a_screen_is_styled_anew_for_another_theme_and_not_for_its_first_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Quiet()
    styled: list[str] = []
    refresh = app.refresh_css

    def note(animate: bool = True) -> None:
        styled.append(app.theme)
        refresh(animate)

    async with app.run_test(size=(80, 24)) as pilot:
        monkeypatch.setattr(app, "refresh_css", note)
        dark = app.screen.styles.background
        for mode in ("queue", "fleet"):
            app.action_go(mode)
            await until(pilot, lambda: getattr(app.screen, "is_whole", False), "not made")
        assert styled == []
        app.action_theme()
        await until(pilot, lambda: bool(styled), "the theme is not worn")
        app.action_go("queue")  # which was not on the screen when the theme changed
        assert app.theme == "textual-light"
        assert app.screen.styles.background not in (dark, None)
        assert app.screen.styles.background.brightness > 0.5


async def nothing(say: object) -> None:
    """Work that is done at once."""


@pytest.mark.parametrize(
    "make",
    [
        lambda: Confirm("really?", ["much"], "yes"),
        lambda: Form("why?", ["so"], [("go", "go")]),
        lambda: WorkScreen("hostler version", nothing),
    ],
)
async def test_a_dialog_that_is_closed_before_it_was_drawn_is_not_drawn(
    make: Callable[[], Modal[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkScreen, "_work", lambda self: None)
    app = Quiet()
    async with app.run_test(size=(80, 24)) as pilot:
        dialog = make()
        app.push_screen(dialog)
        await until(pilot, lambda: dialog.is_mounted, "not opened")
        dialog.dismiss()
        await until(pilot, lambda: not dialog.children, "not taken apart")
        dialog.draw_open()
    assert app.return_code in (None, 0)
