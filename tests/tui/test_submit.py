"""Submitting a pipeline from the screen, against a daemon on a simulated lab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from hostler_tui.app import HostlerApp
from hostler_tui.queue.screen import QueueScreen
from hostler_tui.submit.screen import FilePicker, WorkScreen
from hostler_tui.widgets.form import Form
from tests.support.programs.simserved import SimServed, sim_served
from tests.support.screens.screen import text_of, until, until_shown

PIPELINE = """
name = "digits"
[params]
lr = 0.1
[defaults]
runtime = "process"
code = "%s"
[stages.train]
command = "python train.py --lr {params.lr}"
env = { SIM = "seconds=600" }
resources = { gpus = %s }
"""
SLOW = 30.0
"""Seconds that a command line may take on a busy machine."""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimServed]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    work = tmp_path / "work"
    work.mkdir()
    (work / "a.toml").write_text(PIPELINE % ("snapshot", "2"))
    (work / "broken.toml").write_text(PIPELINE % ("none", '"two"'))
    (work / "train.py").write_text("print()\n")
    monkeypatch.chdir(work)
    with sim_served(tmp_path) as served:
        yield served


async def _pick(pilot: Pilot[int], lab: SimServed) -> HostlerApp:
    app = pilot.app
    assert isinstance(app, HostlerApp)
    await until(pilot, lambda: app.lab.is_live, "no daemon")
    await pilot.press("2")
    await until(pilot, lambda: isinstance(app.screen, QueueScreen), "no queue")
    await pilot.press("n")
    await until_shown(pilot, "Which pipeline?")
    return app


def _said(app: HostlerApp) -> str:
    """What is in the box, its lines joined."""
    lines = (row.strip("│ ") for row in text_of(app).splitlines())
    return " ".join(line for line in lines if line)


async def test_from_the_file_to_the_run(lab: SimServed) -> None:
    app = HostlerApp(find=lambda: lab.found)
    async with app.run_test(size=(100, 30)) as pilot:
        await _pick(pilot, lab)
        assert "digits, 1 stage" in text_of(app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Form), "no form")
        await pilot.press("ctrl+u", *"0.7", "enter", *"second try", "enter", "enter", "enter")
        await until_shown(pilot, "submit it")
        await until_shown(pilot, "1 stage; nothing is started yet", SLOW)
        assert lab.client().runs() == ()
        assert "-p lr=0.7 --title 'second try' --plan" in _said(app)
        await pilot.press("right", "enter")
        await until(pilot, lambda: bool(lab.client().runs()), "nothing was submitted", SLOW)
        run = lab.client().runs()[0]
        assert run.params == {"lr": 0.7}
        assert run.title == "second try"
        await until(pilot, lambda: isinstance(app.screen, QueueScreen), "it stayed", SLOW)
        await until_shown(pilot, str(run.run_id))
        assert app.lab.notices[0].text == f"submitted {run.run_id}"


async def test_what_is_wrong_with_a_file_is_told_in_full_and_nothing_is_submitted(
    lab: SimServed,
) -> None:
    app = HostlerApp(find=lambda: lab.found)
    async with app.run_test(size=(100, 30)) as pilot:
        await _pick(pilot, lab)
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, Form), "no form")
        await pilot.press("enter", "enter", "enter", "enter")
        await until_shown(pilot, "stages.train.resources.gpus: should be a whole number", SLOW)
        await until(pilot, lambda: "submit it" not in text_of(app), "the answer is offered")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Form), "not back at the form")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, FilePicker), "not back at the files")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, QueueScreen), "it stayed")
        assert lab.client().runs() == ()


@pytest.mark.parametrize("size", [(40, 12), (80, 24)])
async def test_enter_alone_never_submits(lab: SimServed, size: tuple[int, int]) -> None:
    app = HostlerApp(find=lambda: lab.found)
    async with app.run_test(size=size) as pilot:
        await _pick(pilot, lab)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Form), "no form")
        await until_shown(pilot, "show the plan")
        await pilot.press("enter", "enter", "enter", "enter")
        await until_shown(pilot, "nothing is started yet", SLOW)
        await until_shown(pilot, "submit it")
        assert isinstance(app.screen, WorkScreen)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Form), "not back at the form")
        assert lab.client().runs() == ()


async def test_a_path_is_typed_and_completed(lab: SimServed) -> None:
    app = HostlerApp(find=lambda: lab.found)
    async with app.run_test(size=(100, 30)) as pilot:
        await _pick(pilot, lab)
        await pilot.press("tab", *"nothing.toml", "enter")
        await until_shown(pilot, "there is no file")
        await pilot.press(*(["backspace"] * len("nothing.toml")), "b", "tab", "enter")
        await until_shown(pilot, "Submit broken.toml")


async def test_a_rerun_is_asked_for_and_made(lab: SimServed) -> None:
    run_id = lab.submit(PIPELINE % ("none", 1))
    app = HostlerApp(find=lambda: lab.found)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: bool(app.lab.runs), "no runs")
        await pilot.press("2")
        await until_shown(pilot, "train")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Form), "no form")
        assert f"hostler rerun {run_id}" in text_of(app)
        await pilot.press("enter")
        assert len(lab.client().runs()) == 1
        await until(pilot, lambda: isinstance(app.screen, QueueScreen), "it stayed")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Form), "no form")
        await pilot.press("down", "enter")
        await until(pilot, lambda: len(lab.client().runs()) == 2, "no second run", SLOW)
