"""The screen of one host, on a daemon with a simulated lab."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from hostler.cli.host_tools import CommandTools, read_checks
from hostler.model.check import Check
from hostler_tui.app import HostlerApp
from hostler_tui.gpus.host_acts import drain_command
from hostler_tui.host import screen as host_work
from hostler_tui.host.rows import doctor_lines
from hostler_tui.host.screen import HostScreen
from hostler_tui.widgets.modal import Ask, Confirm
from hostler_tui.widgets.pane import Pane
from tests.support.programs.simserved import SimServed, sim_served
from tests.support.screens.screen import text_of, until, until_shown

pytestmark = pytest.mark.programs

LONG = """
name = "long"

[defaults]
code = "none"

[stages.train]
command = ["python", "train.py"]
resources = { gpus = 1 }
env = { SIM = "seconds=600 lines=5" }
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServed]:
    """For tests that change nothing in it."""
    with sim_served(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[SimServed]:
    """For a test that drains a host."""
    with sim_served(tmp_path) as lab:
        yield lab


async def _open(pilot: Pilot[int], app: HostlerApp, name: str) -> HostScreen:
    await until_shown(pilot, "fits now")
    app.open_host(name)
    await until(pilot, lambda: isinstance(app.screen, HostScreen), "no host screen")
    await until_shown(pilot, "THE LAST HOUR")
    screen = app.screen
    assert isinstance(screen, HostScreen)
    return screen


def _said(screen: HostScreen, pane: str) -> str:
    return screen.query_one(f"#{pane}", Pane).said


def _drained(lab: SimServed, name: str) -> str | None:
    return lab.client().host(name).drained


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (160, 45), (200, 60)])
async def test_says_who_is_on_it_and_what_it_is(lab: SimServed, size: tuple[int, int]) -> None:
    app = HostlerApp(find=lambda: lab.found)
    async with app.run_test(size=size) as pilot:
        screen = await _open(pilot, app, "atlas")
        parts = ("PROCESSES ON GPUS", "LEASES", "MACHINE", "kernel", "disk /", "Simulated Linux",
                 "d checks this host")  # fmt: skip
        await until(pilot, lambda: all(part in _all(screen) for part in parts), "not all is said")
        await until(pilot, lambda: "8 x A100-80G" in _said(screen, "host_title"), "no title")
        assert all(len(line) <= size[0] for line in text_of(app).splitlines())


def _all(screen: HostScreen) -> str:
    return _said(screen, "work") + _said(screen, "machine")


async def test_an_idle_host_is_drained_with_a_reason_and_given_work_again(
    own_lab: SimServed,
) -> None:
    app = HostlerApp(find=lambda: own_lab.found)
    async with app.run_test(size=(100, 30)) as pilot:
        await _open(pilot, app, "janus")
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Ask), "no question")
        await pilot.press(*"new PSU", "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "no second question")
        await until_shown(pilot, "hostler drain janus --reason 'new PSU'")
        await pilot.press("right", "enter")
        await until(pilot, lambda: _drained(own_lab, "janus") == "new PSU", "not drained")
        await until_shown(pilot, "drained: new PSU")

        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "no question")
        await until_shown(pilot, "hostler undrain janus")
        await pilot.press("right", "enter")
        await until(pilot, lambda: _drained(own_lab, "janus") is None, "still drained")


async def test_enter_alone_and_escape_never_drain(lab: SimServed) -> None:
    app = HostlerApp(find=lambda: lab.found)
    async with app.run_test(size=(100, 30)) as pilot:
        await _open(pilot, app, "janus")
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Ask), "no question")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, HostScreen), "not back")
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Ask), "no question")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "no second question")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, HostScreen), "not back")
        assert _drained(lab, "janus") is None


async def test_where_work_runs_the_name_has_to_be_typed(own_lab: SimServed) -> None:
    run_id = own_lab.submit(LONG)
    app = HostlerApp(find=lambda: own_lab.found)
    async with app.run_test(size=(100, 30)) as pilot:
        await until_shown(pilot, "fits now")

        def where() -> str:
            told = [s.attempt for run in app.lab.runs for s in run.stages if s.attempt]
            return told[0].host if told else ""

        await until(pilot, lambda: bool(where()), "the run is not placed")
        name = where()
        await _open(pilot, app, name)
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Ask), "no question")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "no second question")
        await until_shown(pilot, f"{run_id} long/train")
        await until_shown(pilot, f"Type {name} to confirm")
        await pilot.press("enter", "enter", "enter")
        await until(pilot, lambda: isinstance(app.screen, HostScreen), "not back")
        assert _drained(own_lab, name) is None
        await pilot.press("D", "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "no second question")
        await pilot.press(*name, "tab", "right", "enter")
        await until(pilot, lambda: _drained(own_lab, name) is not None, "not drained")


async def test_arrows_choose_the_gpu_whose_hour_is_shown_and_tab_goes_below(
    lab: SimServed,
) -> None:
    app = HostlerApp(find=lambda: lab.found)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await _open(pilot, app, "atlas")
        await pilot.press("down", "down")
        await until_shown(pilot, "GPU :2, THE LAST HOUR")
        uuid = app.lab.fleet["hosts"][0]["gpus"][2]["uuid"]  # type: ignore[index]
        assert screen.selected_id() == uuid
        await pilot.press("tab")
        assert screen.query_one("#work").has_focus
        await pilot.press("end")
        await until_shown(pilot, "runtimes")
        await pilot.press("tab", "home")
        await until_shown(pilot, "GPU :0, THE LAST HOUR")


async def test_connecting_is_asked_of_the_daemon(lab: SimServed) -> None:
    app = HostlerApp(find=lambda: lab.found)
    async with app.run_test(size=(80, 24)) as pilot:
        await _open(pilot, app, "atlas")
        await pilot.press("c")
        await until(pilot, lambda: any("atlas" in n.text for n in app.lab.notices), "not asked")
        assert app.lab.notices[0].severity == "information", app.lab.notices[0]


async def test_trusting_a_key_needs_a_terminal_to_hand_over(lab: SimServed) -> None:
    app = HostlerApp(find=lambda: lab.found)
    async with app.run_test(size=(80, 24)) as pilot:
        await _open(pilot, app, "atlas")
        await pilot.press("K")
        await until(pilot, lambda: bool(app.lab.notices), "nothing is said")
        assert "run hostler host trust atlas" in app.lab.notices[0].text


async def test_doctor_is_run_when_asked_and_its_findings_are_shown(
    lab: SimServed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(name: str) -> tuple[Check, ...]:
        answer = json.dumps({"checks": [
            {"name": "host.gpus", "state": "ok", "message": "8 GPUs", "remedy": "", "host": name},
            {"name": "host.docker", "state": "fail", "message": "permission denied",
             "remedy": "Add lab to the group docker", "host": name},
        ]})  # fmt: skip
        return read_checks(answer.encode(), b"", name)

    tools = CommandTools()
    monkeypatch.setattr(tools, "doctor", found)
    app = HostlerApp(find=lambda: lab.found, tools=tools)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await _open(pilot, app, "atlas")
        await pilot.press("d")
        await until(pilot, lambda: "fix: Add lab to the group docker" in _all(screen), "no fix")
        said = _said(screen, "work")
        assert said.index("FAIL") < said.index("8 GPUs")


async def test_doctor_of_a_host_that_does_not_exist_says_what_the_command_says() -> None:
    found = await host_work.doctor(HostlerApp(tools=CommandTools()), "[")
    assert found.error
    assert "Traceback" not in found.error
    assert found.error in doctor_lines(found)[1][0][0]


async def test_doctor_in_a_demo_says_that_it_is_not_part_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOSTLER_DEMO", "1")
    found = await host_work.doctor(HostlerApp(tools=CommandTools()), "atlas")
    assert found.checks == ()
    assert found.error.startswith("`hostler doctor` is not available in the demo")


async def test_doctor_checks_a_host_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "hostler" / "config.toml"
    file.parent.mkdir()
    file.write_text('[hosts.here]\ntransport = "local"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    found = await host_work.doctor(HostlerApp(tools=CommandTools()), "here")
    assert not found.error
    assert any(check.host == "here" for check in found.checks)


def test_the_command_of_a_drain_is_quoted() -> None:
    assert drain_command("gpu1", "") == "hostler drain gpu1"
    assert drain_command("gpu1", "it's hot") == "hostler drain gpu1 --reason 'it'\"'\"'s hot'"
