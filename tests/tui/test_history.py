"""Runs of the past on the screen: searched, sorted, compared, exported, forgotten."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from hostler.base.errors import ForbiddenError, HostlerError, InputError
from hostler.model.codec import from_answer
from hostler.model.views.history import ComparedRuns, HistoryPage
from hostler.model.views.kept import KeptView
from hostler.model.views.runs import RunSource
from hostler_tui.app import HostlerApp
from hostler_tui.compare.screen import CompareScreen
from hostler_tui.history import screen as history_screen
from hostler_tui.history.screen import HistoryScreen
from hostler_tui.messages import FleetSeen
from hostler_tui.widgets.modal import Choice, Confirm, Sheet
from hostler_tui.widgets.table import Table
from tests.support.screens.madefleet import made_fleet
from tests.support.screens.pictures import check_picture
from tests.support.screens.screen import no_daemon, text_of, until, until_shown
from tests.support.values.fleets import NOW
from tests.support.values.run_objects import artifact, kept, remainder


def summary(run_id: str, state: str, ago: float, **more: Any) -> dict[str, Any]:
    made = {
        "run_id": run_id, "state": state, "outcome": None if state == "running" else state,
        "pipeline": "llm-sft", "owner": "ana", "uid": 1000, "title": "", "cause": None,
        "submitted_at": NOW - ago, "finished_at": None if state == "running" else NOW - ago + 41000,
        "took_s": 41000.0, "gpu_hours": 116.7, "energy_wh": 40210.0, "git_commit": "a01b77e" * 5,
        "params": {"lr": 0.00003}, "metrics": {"loss": 1.698, "val_acc": 0.741},
        "hosts": ["gpu-02"],
    }  # fmt: skip
    return made | more


RUNS = [
    summary("r7f3a2k", "running", 11520, took_s=11520.0, gpu_hours=32.1, energy_wh=None,
            metrics={"loss": 1.729}, params={"lr": 0.000021}, title="lower lr"),
    summary("r7e11bc", "succeeded", 150000),
    summary("r7d90de", "failed", 160000, metrics={"loss": 7.5}, took_s=3060.0, gpu_hours=8.5,
            cause="train: user error, exit code 3"),
    summary("r7c02fg", "succeeded", 360000, owner="bo", uid=1001, params={"lr": 0.1, "Seed": 3}),
]  # fmt: skip
COMPARED: dict[str, Any] = {
    "runs": [RUNS[1], RUNS[0]],
    "rows": [
        {"section": "run", "name": "commit", "values": ["a01b77e", "a01b77e"], "differs": False,
         "better": None},
        {"section": "run", "name": "title", "values": [None, "lower lr"], "differs": True,
         "better": None},
        {"section": "parameters", "name": "lr", "values": [0.00003, 0.000021], "differs": True,
         "better": None},
        {"section": "metrics", "name": "loss", "values": [1.698, 1.729], "differs": True,
         "better": 0},
        {"section": "cost", "name": "took_s", "values": [41000.0, 11520.0], "differs": True,
         "better": 1},
    ],
    "series": {"loss": [[[n, 3 - n / 10] for n in range(13)],
                        [[n, 2.9 - n / 12] for n in range(9)]],
               "val_acc": [[[0, 0.5], [9, 0.741]], []]},
}  # fmt: skip


class Past:
    """What the screens ask of a daemon."""

    def __init__(self, runs: Sequence[dict[str, Any]] = RUNS) -> None:
        self.runs = list(runs)
        self.asked: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self.refusal: HostlerError | None = None

    async def history(self, *, limit: int, **asked: Any) -> HistoryPage:
        self.asked.append({**asked, "limit": limit})
        if self.refusal is not None:
            raise self.refusal
        told = {"total": len(self.runs), "runs": self.runs[:limit]}
        return from_answer(HistoryPage, told)

    async def compare(self, run_ids: list[str]) -> ComparedRuns:
        self.asked.append({"compared": run_ids})
        if self.refusal is not None:
            raise self.refusal
        return from_answer(ComparedRuns, COMPARED)

    async def source(self, run_id: str) -> RunSource:
        return RunSource(
            git_commit="a01b77e", git_branch="main", git_dirty=True,
            git_diff=f"diff --git a/{run_id}\n-old\n+new",
        )  # fmt: skip

    async def kept(self, run_id: str) -> KeptView:
        if run_id == "r7c02fg":
            raise ForbiddenError("run r7c02fg belongs to bo")
        return from_answer(KeptView, kept(artifact(), remainder(), run_id=run_id))

    async def remove(self, run_id: str) -> None:
        self.removed.append(run_id)
        self.runs = [run for run in self.runs if run["run_id"] != run_id]


class PastApp(HostlerApp):
    MAIN_SCREENS = {"history": HistoryScreen}  # noqa: RUF012
    DEFAULT_MODE = "history"

    def __init__(self, runs: Sequence[dict[str, Any]] = RUNS) -> None:
        super().__init__(find=no_daemon)
        self.past = Past(runs)
        self.opened: list[str] = []
        self.copied: list[str] = []

    @property
    def client(self) -> Any:
        return self.past

    def _connect(self) -> Any:
        """Nobody is asked: the test tells."""

    def open_run(self, run_id: str, stage: str = "", page: str = "") -> None:
        self.opened.append(run_id)

    def copy_text(self, text: str | None, what: str = "") -> None:
        self.copied.append(text or "")


@pytest.fixture(autouse=True)
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("time.time", lambda: NOW)
    monkeypatch.setattr("time.localtime", time.gmtime)
    monkeypatch.setattr(history_screen, "SETTLE_S", 0.01)
    monkeypatch.setattr("os.getuid", lambda: 1000)
    monkeypatch.chdir(tmp_path)


async def told(pilot: Pilot[int], app: PastApp, wanted: str = "r7f3a2k") -> HistoryScreen:
    """The screen, once the daemon has told of the runs."""
    app.post_message(FleetSeen(made_fleet(), NOW))
    await until_shown(pilot, wanted)
    screen = app.screen
    assert isinstance(screen, HistoryScreen)
    return screen


def last(app: PastApp) -> dict[str, Any]:
    return {key: value for key, value in app.past.asked[-1].items() if key != "limit"}


async def asked(pilot: Pilot[int], app: PastApp, **wanted: Any) -> None:
    wanted = {"releases": False, **wanted}
    await until(pilot, lambda: last(app) == wanted, f"not asked {wanted}, but {app.past.asked}")


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (160, 45), (200, 60)])
async def test_how_it_looks(size: tuple[int, int]) -> None:
    app = PastApp()
    async with app.run_test(size=size) as pilot:
        await told(pilot, app)
        await pilot.press("space", "space")
        await until_shown(pilot, "2 marked")
        await check_picture(pilot, f"history-{size[0]}x{size[1]}", lambda: text_of(app))


async def test_the_filter_is_the_daemon_s(monkeypatch: pytest.MonkeyPatch) -> None:
    app = PastApp()
    async with app.run_test(size=(100, 24)) as pilot:
        await told(pilot, app)
        await asked(pilot, app, sort="-submitted")
        typed = "sft pipeline=llm-sft owner=bo since=1d releases=yes param.Seed=3 metric.loss<=2"
        await pilot.press("slash", *typed, "enter")
        await asked(pilot, app, sort="-submitted", text="sft", pipeline="llm-sft", owner="bo",
                    since=NOW - 86400, param=("Seed=3",), metric=("loss<=2",),
                    releases=True)  # fmt: skip
        app.screen.query_one(Table).show([])
        await pilot.press("Y")
        assert app.copied == [
            "hostler runs --pipeline llm-sft --owner bo --since 1d --releases --param Seed=3 "
            "--metric 'loss<=2' --text sft"
        ]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("state!=failed", "not supported in the history"), ("since=soon", "should be an age like"),
        ("!llm", "is not supported in the history"), ("releases=some", "releases is yes or no"),
    ],
)  # fmt: skip
async def test_what_cannot_be_asked_is_said(typed: str, says: str) -> None:
    app = PastApp()
    async with app.run_test(size=(120, 24)) as pilot:
        await told(pilot, app)
        await pilot.press("slash", *typed, "enter")
        await until_shown(pilot, says)
        assert "r7f3a2k" in text_of(app)


async def test_a_refusal_of_the_daemon_is_said() -> None:
    app = PastApp()
    async with app.run_test(size=(120, 24)) as pilot:
        await told(pilot, app)
        app.past.refusal = InputError("'x' has no operator", remedy="NAME OPERATOR VALUE")
        await pilot.press("r")
        await until_shown(pilot, "has no operator")
        app.past.refusal = None
        await pilot.press("r")
        await until(pilot, lambda: "has no operator" not in text_of(app), "it stays")


async def test_sorting_by_any_column() -> None:
    app = PastApp()
    async with app.run_test(size=(160, 24)) as pilot:
        await told(pilot, app)
        await pilot.press("o")
        assert isinstance(app.screen, Choice)
        keys = [row.key for row in app.screen.query_one(Table).rows]
        assert {"submitted", "took", "gpu_hours", "energy", "loss", "val_acc", "lr"} <= set(keys)
        await pilot.press(*["down"] * keys.index("loss"), "enter")
        await asked(pilot, app, sort="-loss")
        await pilot.press("o", "enter")
        await asked(pilot, app, sort="loss")
        await pilot.press("greater_than_sign")
        await asked(pilot, app, sort="-val_acc")
        await pilot.press("less_than_sign")
        await asked(pilot, app, sort="-loss")


async def test_choosing_columns() -> None:
    app = PastApp()
    async with app.run_test(size=(160, 24)) as pilot:
        screen = await told(pilot, app)
        assert "val_acc" in text_of(app)
        await pilot.press("C")
        sheet = app.screen
        assert isinstance(sheet, Sheet)
        table = sheet.query_one(Table)
        assert "metric.val_acc" in table.marks
        table.put_cursor("metric.val_acc")
        await pilot.press("space")
        table.put_cursor("param.Seed")
        await pilot.press("space", "enter")
        await until(pilot, lambda: "param.Seed" in screen.chosen, "not chosen")
        await until_shown(pilot, "Seed")
        assert "val_acc" not in text_of(app)


async def test_opening_and_copying() -> None:
    app = PastApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await pilot.press("down", "enter", "y", "Y")
        assert app.opened == ["r7e11bc"]
        assert app.copied == ["r7e11bc", "hostler show r7e11bc"]


async def test_more_is_asked_for_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [summary(f"r{n:04}", "succeeded", n) for n in range(450)]
    app = PastApp(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app, "r0000")
        assert "the first 200" in text_of(app)
        await pilot.press("end")
        await until_shown(pilot, "the first 400")
        await pilot.press("end")
        await until(pilot, lambda: len(app.screen.query_one(Table).rows) == 450, "not all")


async def test_comparing_wants_two() -> None:
    app = PastApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await pilot.press("c")
        assert "mark two or more" in app.lab.notices[0].text
        await pilot.press("space", "space", "c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen), "no comparison")
        await until_shown(pilot, "4 of 5 rows differ")
        assert app.past.asked[-1] == {"compared": ["r7f3a2k", "r7e11bc"]}
        await pilot.press("escape")
        assert isinstance(app.screen, HistoryScreen)
        await pilot.press("escape")
        assert not app.screen.query_one(Table).marks


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (160, 45), (200, 60)])
async def test_how_a_comparison_looks(size: tuple[int, int]) -> None:
    app = PastApp()
    async with app.run_test(size=size) as pilot:
        await told(pilot, app)
        app.compare(["r7e11bc", "r7f3a2k"])
        await until_shown(pilot, "METRICS" if size[1] > 12 else "differ")
        await pilot.pause()
        await check_picture(pilot, f"compare-{size[0]}x{size[1]}", lambda: text_of(app))


async def test_rows_base_and_metrics_of_a_comparison() -> None:
    app = PastApp()
    async with app.run_test(size=(100, 40)) as pilot:
        await told(pilot, app)
        app.compare(["r7e11bc", "r7f3a2k"])
        await until_shown(pilot, "1.729 +0.031")
        assert "1.698 best" in text_of(app)
        assert "3h12m -8h11m best" in text_of(app)
        assert "commit" not in text_of(app)
        await pilot.press("u")
        assert "commit" in text_of(app)
        await pilot.press("b")
        assert "r7f3a2k base" in text_of(app)
        assert "1.698 -0.031 best" in text_of(app)
        assert "loss r7f3a2k" in text_of(app)
        await pilot.press("m")
        assert "val_acc r7e11bc" in text_of(app)
        await pilot.press("M", "y", "Y")
        assert "loss r7f3a2k" in text_of(app)
        assert app.copied == ["r7f3a2k", "hostler compare r7e11bc r7f3a2k"]
        await pilot.press("D")
        await until_shown(pilot, "diff --git a/r7f3a2k")
        assert "diff --git a/r7e11bc" in text_of(app)
        await pilot.press("escape")
        app.past.refusal = InputError("no run r9", remedy="")
        await pilot.press("r")
        await until_shown(pilot, "no run r9")


async def test_the_code_of_a_run() -> None:
    app = PastApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await pilot.press("D")
        await until_shown(pilot, "+new")
        await pilot.press("escape")
        assert isinstance(app.screen, HistoryScreen)


@pytest.mark.parametrize("name", ["found.csv", "found.json"])
async def test_export(name: str, tmp_path: Path) -> None:
    app = PastApp()
    async with app.run_test(size=(100, 24)) as pilot:
        await told(pilot, app)
        await pilot.press("e", *name, "enter")
        await until(pilot, lambda: bool(app.lab.notices), "nothing is said")
        assert app.lab.notices[0].text == f"wrote 4 runs to {tmp_path / name}"
        text = (tmp_path / name).read_text()
        if name.endswith(".json"):
            assert (
                from_answer(HistoryPage, json.loads(text)).runs
                == from_answer(HistoryPage, {"runs": RUNS}).runs
            )
        else:
            rows = list(csv.DictReader(text.splitlines()))
            assert rows[3]["param.Seed"] == "3"
            assert rows[1]["metric.val_acc"] == "0.741"
        await pilot.press("e", *name, "enter")
        await until(pilot, lambda: "exists already" in app.lab.notices[0].text, "overwritten")


async def test_forgetting_wants_the_name_typed() -> None:
    app = PastApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await told(pilot, app)
        await pilot.press("d")
        assert "only finished runs can" in app.lab.notices[0].text
        await pilot.press("down", "d")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "nothing is asked")
        assert "command: hostler rm r7e11bc --yes" in text_of(app)
        assert "r7e11bc: not fetched: train model (1 GiB)" in text_of(app)
        assert "not fetched, and removed from gpu2: model.pt" in text_of(app)
        await pilot.press("enter", "enter", "enter")
        assert app.past.removed == []
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "nothing is asked")
        await pilot.press(*"r7e11bc", "tab", "tab", "enter")
        await until(pilot, lambda: app.past.removed == ["r7e11bc"], "not forgotten")
        await until(pilot, lambda: "r7e11bc" not in text_of(app), "still shown")


async def test_forgetting_several_wants_their_number_and_names_other_owners() -> None:
    app = PastApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await told(pilot, app)
        await pilot.press("down", "down", "space", "space", "d")
        await until_shown(pilot, "Remove 2 runs")
        assert "Not yours: bo may need it" in text_of(app)
        assert "r7d90de: not fetched" in text_of(app)
        await pilot.press("2", "tab", "tab", "enter")
        await until(pilot, lambda: app.past.removed == ["r7d90de", "r7c02fg"], "not forgotten")


async def test_nothing_found_says_what_to_do() -> None:
    app = PastApp([])
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app, "No runs yet")
        await pilot.press("slash", *"xyz", "enter")
        await until_shown(pilot, "No runs match")
        await pilot.press("enter", "R", "D", "d", "c")


async def test_hostile_words_stay_words() -> None:
    evil = summary("r1", "failed", 1, pipeline="\x1b[2J[/red]", owner="\u202eana",
                   cause="a\x1b]52;c;UFdO\x07\nb", metrics={"\x1b[1mx": 1.0})  # fmt: skip
    app = PastApp([evil])
    async with app.run_test(size=(160, 24)) as pilot:
        await told(pilot, app, "r1")
        assert "[/red]" in text_of(app)
        assert "\x1b" not in text_of(app)
