"""The deployments screen, on services that were made up."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.message import Message
from textual.pilot import Pilot

from hostler.base.errors import ForbiddenError, HostlerError, NotFoundError
from hostler.model.views.services import DeployView, ReleaseChanges
from hostler.model.views.traffic import TrafficHistory
from hostler_tui.app import HostlerApp
from hostler_tui.deploy.curves import chart_block, curves_of, held, now_of
from hostler_tui.deploy.screen import TAIL_HIGH, DeployScreen
from hostler_tui.messages import FleetSeen, ServicesSeen, TrafficSeen
from hostler_tui.service_feed import ServiceFeed
from hostler_tui.services import Service, grouped
from hostler_tui.widgets.form import Form
from hostler_tui.widgets.modal import Confirm
from tests.support.daemons.stored_log import StoredLog
from tests.support.screens.madefleet import made_fleet
from tests.support.screens.madeservices import (
    RELEASES,
    SERVICES,
    STOPPED,
    TRAFFIC,
    VIEWS,
    release,
    replica,
    service,
)
from tests.support.screens.pictures import check_picture
from tests.support.screens.screen import no_daemon, text_of, until, until_shown
from tests.support.values.fleets import NOW
from tests.support.values.run_objects import run, stage

PLAN = DeployView(
    "llm-chat",
    3,
    "surge",
    ("serve.env.SAMPLER: v2 -> v1",),
    "surge: 1 replica more at a time, and no request is lost",
    release=1,
    takes_s=180.0,
)


class Answers(StoredLog):
    """Stands where the client does, and notes what it is asked to do."""

    def __init__(self) -> None:
        super().__init__(b"".join(b"12:00:%02d INFO GET / 200 %d ms\n" % (n, n) for n in range(60)))
        self.done: list[tuple[Any, ...]] = []
        self.refusal: HostlerError | None = None
        self.plan = PLAN

    async def show(self, run_id: str) -> Any:
        return run(stage("serve", "running", kind="service", image=f"lab/{run_id[2:6]}:0.32"))

    async def plan_rollback(self, name: str, number: int | None) -> DeployView:
        self._refuse()
        return self.plan

    async def release_changes(self, name: str, release: int, against: int) -> ReleaseChanges:
        self._refuse()
        return ReleaseChanges(name, release, against, ("serve.env.MAX: 8192 -> 16384",))

    async def rollback(self, name: str, number: int | None) -> None:
        self._wish("rollback", name, number)

    async def stop(self, name: str) -> None:
        self._wish("stop", name)

    async def scale(self, name: str, replicas: int) -> None:
        self._wish("scale", name, replicas)

    async def extend(self, name: str, seconds: float) -> None:
        self._wish("extend", name, seconds)

    def _refuse(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def _wish(self, *what: Any) -> None:
        self._refuse()
        self.done.append(what)


class DeployApp(HostlerApp):
    MAIN_SCREENS = {"deploy": DeployScreen}  # noqa: RUF012
    DEFAULT_MODE = "deploy"

    def __init__(self) -> None:
        super().__init__(find=no_daemon)
        self.answers = Answers()
        self.opened: list[tuple[str, str, str]] = []

    @property
    def client(self) -> Any:
        return self.answers

    def _connect(self) -> Any:
        """Nobody is asked: the test tells."""

    def open_run(self, run_id: str, stage: str = "", page: str = "") -> None:
        self.opened.append((run_id, stage, page))

    @property
    def deploy(self) -> DeployScreen:
        screen = self.screen_stack[0]
        assert isinstance(screen, DeployScreen)
        return screen


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeployApp:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("time.time", lambda: NOW)
    monkeypatch.setattr("time.localtime", time.gmtime)
    return DeployApp()


async def told(pilot: Pilot[int], app: DeployApp, services: Any = SERVICES) -> None:
    """The daemon answered."""
    app.post_message(FleetSeen(made_fleet(), NOW))
    app.post_message(ServicesSeen(services))
    app.post_message(TrafficSeen(TRAFFIC))
    await until(pilot, lambda: app.lab.are_services_known, "not told")
    app._tick()
    await pilot.pause()
    app._tick()
    await pilot.pause()


async def go_to(pilot: Pilot[int], app: DeployApp, key: str) -> None:
    app.deploy.table("services").put_cursor(key)
    await pilot.pause()


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (120, 36), (160, 45)])
async def test_how_it_looks(app: DeployApp, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        await told(pilot, app)
        await go_to(pilot, app, "llm-chat")
        await until(pilot, lambda: "r1chat00" in app.deploy._images, "no images")
        app._tick()
        await pilot.pause()
        if size[1] >= TAIL_HIGH:
            await until_shown(pilot, "12:00:59 INFO")
        await check_picture(pilot, f"deploy-{size[0]}x{size[1]}", lambda: text_of(app))


async def test_replicas_and_releases_are_those_of_the_selected_service(app: DeployApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await go_to(pilot, app, "llm-chat")
        replicas = [row.key for row in app.deploy.table("replicas").rows]
        assert replicas == [
            "r3chat00/serve.3", "r4chat00/serve.0", "r4chat00/serve.1", "r4chat00/serve.2",
        ]  # fmt: skip
        releases = app.deploy.table("releases").rows
        assert [row.key for row in releases] == ["4", "3", "2", "1"]
        assert ("< rollback target", "accent") in releases[1].cells
        await go_to(pilot, app, "r7tts000/serve")
        assert not app.deploy.table("releases").display
        assert "no speakers in model.onnx" in text_of(app)


async def test_news_leave_the_cursors_where_they_are(app: DeployApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await go_to(pilot, app, "llm-chat")
        await pilot.press("enter", "down", "space")
        assert app.deploy.pane == "releases"
        releases = app.deploy.table("releases")
        assert (releases.cursor, releases.marks) == ("2", frozenset({"3"}))
        newer = {**RELEASES, "llm-chat": (release(5, "delivering", 3.0), *RELEASES["llm-chat"][1:])}
        more = service("r0aaa000", "asr", replica("serve"))
        await told(pilot, app, grouped((more, *VIEWS), newer))
        assert app.deploy.table("services").cursor == "llm-chat"
        assert (releases.cursor, releases.marks) == ("2", frozenset({"3"}))
        await told(pilot, app, tuple(one for one in SERVICES if one.name != "llm-chat"))
        assert app.deploy.chosen is None
        await pilot.press("escape", "s")
        assert "llm-chat is not in this list" in app.lab.notices[0].text


async def test_without_services_it_says_what_to_do(app: DeployApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "connecting ...")
        await told(pilot, app, ())
        assert "No services yet." in text_of(app)
        assert "hostler deploy serve.toml" in text_of(app)


async def test_a_rollback_shows_what_it_does_and_asks_for_the_name(app: DeployApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await go_to(pilot, app, "llm-chat")
        await pilot.press("enter", "end", "R")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "no dialog")
        await pilot.pause()
        shown = text_of(app)
        assert "Roll llm-chat back to release 1?" in shown
        assert "serve.env.SAMPLER: v2 -> v1" in shown
        assert "no request is lost" in shown
        assert "about 3m in all" in shown
        assert "hostler rollback llm-chat 1" in shown
        await pilot.press("enter", "enter")
        await until(pilot, lambda: app.screen is app.deploy, "not closed")
        assert app.answers.done == []
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "no dialog")
        await pilot.press(*"llm-chat", "tab", "tab", "enter")
        await until(pilot, lambda: bool(app.answers.done), "not done")
        assert app.answers.done == [("rollback", "llm-chat", 1)]
        assert "is restored as a new release" in app.lab.notices[0].text


async def test_an_open_release_is_undone(app: DeployApp) -> None:
    how = "release 4 (shifting) is stopped and undone; release 3 keeps serving, or serves again"
    app.answers.plan = DeployView("llm-chat", 4, how=how, release=3)
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await go_to(pilot, app, "llm-chat")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "no dialog")
        await pilot.pause()
        assert "Stop release 4 of llm-chat, and undo it?" in text_of(app)
        await pilot.press(*"llm-chat", "tab", "tab", "enter")
        await until(pilot, lambda: bool(app.answers.done), "not done")
        assert app.answers.done == [("rollback", "llm-chat", None)]


async def test_what_the_daemon_refuses_is_told_with_its_remedy(app: DeployApp) -> None:
    app.answers.refusal = ForbiddenError("only bo and the daemon's owner may deploy embed",
                                         remedy="ask bo")  # fmt: skip
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        for keys in (
            ("R",),
            ("s", "enter", "tab", "enter"),
            ("X", *"embed", "tab", "tab", "enter"),
        ):
            await pilot.press(*keys)
            await until(pilot, lambda: bool(app.lab.notices), "nothing was told")
            assert "may deploy embed" in app.lab.notices[0].text
            assert "ask bo" in app.lab.notices[0].text
            app.lab.notices = ()
        assert app.answers.done == []


async def test_somebody_elses_service_is_named_so_and_stopped_with_all_its_runs(
    app: DeployApp,
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await go_to(pilot, app, "llm-chat")
        await pilot.press("X")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "no dialog")
        await pilot.pause()
        assert "Not yours: ana may need it" in text_of(app)
        assert "Nothing answers at http://127.0.0.1:8080/llm-chat/" in text_of(app)
        await pilot.press(*"llm-chat", "tab", "tab", "enter")
        await until(pilot, lambda: len(app.answers.done) == 2, "not done")
        assert app.answers.done == [("stop", "r3chat00.serve"), ("stop", "r4chat00.serve")]


async def test_scaling_asks_for_the_number_and_takes_no_other_text(app: DeployApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await go_to(pilot, app, "r7tts000/serve")
        await pilot.press("s")
        await until_shown(pilot, "Change the number of replicas of tts?")
        await pilot.press("backspace", "x", "enter", "tab", "enter")
        await until(pilot, lambda: bool(app.lab.notices), "nothing was told")
        assert "type 1 to 64" in app.lab.notices[0].text
        await pilot.press("s")
        await until_shown(pilot, "Change the number of replicas of tts?")
        await pilot.press("backspace", "3", "enter", "tab", "enter")
        await until(pilot, lambda: bool(app.answers.done), "not done")
        assert app.answers.done == [("scale", "r7tts000.serve", 3)]


async def test_logs_are_those_of_the_replica_or_of_the_first_with_a_problem(
    app: DeployApp,
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await go_to(pilot, app, "llm-chat")
        await pilot.press("l", "tab", "down", "enter", "tab", "enter")
        assert app.opened == [
            ("r4chat00", "serve.2", "log"), ("r4chat00", "serve.0", "log"), ("r4chat00", "", ""),
        ]  # fmt: skip


async def test_two_releases_are_compared(app: DeployApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await go_to(pilot, app, "llm-chat")
        await pilot.press("enter", "end", "D")
        await until_shown(pilot, "llm-chat: release 1 against release 3")
        await until_shown(pilot, "serve.env.MAX: 8192 -> 16384")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.deploy, "not closed")
        await pilot.press("escape", "home", "D")
        assert "has one release" in app.lab.notices[0].text


async def test_one_table_at_a_time_on_a_short_screen(app: DeployApp) -> None:
    async with app.run_test(size=(40, 12)) as pilot:
        await told(pilot, app)
        await go_to(pilot, app, "llm-chat")
        for shown in ("replicas", "releases", "services"):
            await pilot.press("tab")
            await pilot.pause()
            assert app.deploy.pane == shown
            visible = [
                n for n in ("services", "replicas", "releases") if app.deploy.table(n).display
            ]
            assert visible == [shown]


async def test_the_mouse_selects_and_opens(app: DeployApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await pilot.click("#services", offset=(4, 2))
        assert app.deploy.table("services").cursor == "llm-chat"
        await pilot.click("#releases", offset=(4, 2))
        await pilot.click("#releases", offset=(4, 2))
        assert app.opened == [("r3chat00", "", "")]


async def test_values_of_before_are_marked_while_the_daemon_is_away(app: DeployApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        app.lab.lose("nothing listens", NOW)
        app._tick()
        await pilot.pause()
        assert "llm-chat~" in text_of(app)
        await pilot.press("R")
        assert app.answers.done == []
        assert app.screen is app.deploy


def test_a_filter_names_states_and_owners(app: DeployApp) -> None:
    from hostler_tui.deploy.rows import FIELDS, service_rows
    from hostler_tui.filtering import parse

    for text, keys in (("state=failing", ["r7tts000/serve"]), ("owner=ana chat", ["llm-chat"]),
                       ("host=gpu-03", ["r5ocr000/serve"])):  # fmt: skip
        rows = service_rows(SERVICES, parse(text, FIELDS), NOW, {}, width=80)
        assert [row.key for row in rows] == keys


def test_a_service_that_is_called_like_one_of_a_run_hides_it_not() -> None:
    views = [
        service("r1", "two", replica("serve")),
        service("r2", "r1.serve", replica("serve")),
    ]
    live = replace(release(1, "live"), service="r1.serve", run_id="r2")
    found = grouped(views, {"r1.serve": (live,)})
    assert [(one.name, one.is_deployed) for one in found] == [("two", False), ("r1.serve", True)]


def test_several_services_of_a_run_are_told_apart() -> None:
    views = [
        service("r1", "two", replica("a"), name="a"),
        service("r1", "two", replica("b"), name="b"),
    ]
    assert [one.name for one in grouped(views, {})] == ["two/a", "two/b"]
    assert isinstance(grouped(views, {})[0], Service)


def test_curves_are_of_all_releases_and_hold_between_rare_counts() -> None:
    curves = curves_of(TRAFFIC["llm-chat"])
    assert curves.requests[-1] == 8.0
    assert curves.requests[0] == TRAFFIC["llm-chat"].releases[1].requests[0]
    assert curves.p95_ms[-1] == 402.0, "that of the release with most requests"
    assert curves_of(TrafficHistory(service="new")).requests == ()
    chat = next(one for one in SERVICES if one.name == "llm-chat")
    assert now_of(chat).rate == pytest.approx(8.2)
    alone = replace(chat, parts=chat.parts[1:])
    assert now_of(alone, curves).rate == 8.0, "the release before is still counted"
    assert chart_block(curves_of(TrafficHistory(service="new")), 44, 12)
    assert held((None, 2.0, None, None, 3.0, None, None, 4.0)) == [
        None,
        *[2.0] * 3,
        *[3.0] * 3,
        4.0,
    ]


async def test_traffic_of_a_service_that_was_stopped_meanwhile_is_left_out() -> None:
    told: list[Message] = []

    class Counting:
        async def traffic(self, name: str) -> TrafficHistory:
            if name == "gone":
                raise NotFoundError("no service gone runs")
            return TRAFFIC[name]

    feed = ServiceFeed(Counting(), told.append)  # type: ignore[arg-type]
    feed._counted = {"gone": "gone", "embed": "embed"}
    following = asyncio.create_task(feed.follow_traffic())
    async with asyncio.timeout(30):
        while not told:
            await asyncio.sleep(0)
    following.cancel()
    assert isinstance(told[0], TrafficSeen)
    assert list(told[0].traffic) == ["embed"]


async def test_what_cannot_be_typed_is_stopped_by_the_name_of_its_run(app: DeployApp) -> None:
    evil = grouped([service("r66evil0", "\x1b]0;x\x07 a b ", replica("serve"))], {})
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app, evil)
        await pilot.press("X")
        await until_shown(pilot, "Type r66evil0 to confirm:")
        assert "\x1b" not in text_of(app)


async def test_a_rollback_from_the_open_or_live_release_names_no_other_one(app: DeployApp) -> None:
    app.answers.refusal = ForbiddenError("not yours", remedy="ask ana")
    asked: list[int | None] = []

    async def plan(name: str, number: int | None) -> DeployView:
        asked.append(number)
        raise ForbiddenError("not yours", remedy="ask ana")

    app.answers.plan_rollback = plan  # type: ignore[method-assign]
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await go_to(pilot, app, "llm-chat")
        for keys in (("enter", "R"), ("down", "R"), ("down", "R"), ("down", "R")):
            before = len(asked)
            await pilot.press(*keys)
            await until(pilot, lambda n=before: len(asked) > n, "not asked")  # type: ignore[misc]
    assert asked == [None, None, 2, 1]


async def test_the_palette_finds_services(app: DeployApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await pilot.press("colon", *"tts")
        await until_shown(pilot, "0/1 of ana, failing")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.deploy, "it stayed")
        await until(pilot, lambda: app.deploy.table("services").cursor == "r7tts000/serve", "no")


async def test_a_tall_screen_follows_the_log_of_the_replica_that_is_meant(app: DeployApp) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        await told(pilot, app)
        await go_to(pilot, app, "llm-chat")
        await until_shown(pilot, "log of serve.2, release 4")
        await until_shown(pilot, "12:00:59 INFO")
        await pilot.press("tab")
        await until_shown(pilot, "log of serve.3, release 3")
        asked = [(each["run_id"], each["stage"]) for each in app.answers.asked]
        assert {("r4chat00", "serve.2"), ("r3chat00", "serve.3")} <= {*asked}
        never = grouped([service("r1", "new", replica("serve", "waiting", None, since=None))], {})
        await told(pilot, app, never)
        await pilot.press("escape", "down")
        await until_shown(pilot, "log of serve   has no log yet")


async def test_nothing_of_a_service_stays_that_was_stopped(app: DeployApp) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        await told(pilot, app)
        await go_to(pilot, app, "llm-chat")
        await until_shown(pilot, "requests/s")
        await told(pilot, app, tuple(one for one in SERVICES if one.name != "llm-chat"))
        await until_shown(pilot, "llm-chat is not in this list")
        shown = text_of(app)
        assert "requests/s" not in shown
        assert "log of" not in shown


@pytest.mark.parametrize("number", [None, 1])
async def test_a_service_that_was_stopped_stays_and_is_started_again(
    app: DeployApp, number: int | None
) -> None:
    """The one that served last, or the selected release."""
    async with app.run_test(size=(110, 30)) as pilot:
        await told(pilot, app, grouped((*VIEWS, STOPPED), RELEASES))
        await go_to(pilot, app, "asr")
        shown = text_of(app)
        assert "stopped 3h ago. R starts the selected or last release again" in shown
        assert "stopped 1" in shown
        states = [row.cells[1] for row in app.deploy.table("releases").rows]
        assert states == [("stopped", "stopped"), ("retired", "retired")]
        for key in ("s", "X", "e"):
            await pilot.press(key)
            await until(pilot, lambda: bool(app.lab.notices), "nothing was told")
            assert "asr does not run: R restores a release" in app.lab.notices[0].text
            app.lab.notices = ()
        if number is not None:
            await pilot.press("enter", "down")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "no dialog")
        await pilot.press(*"asr", "tab", "tab", "enter")
        await until(pilot, lambda: bool(app.answers.done), "nothing was done")
        assert app.answers.done == [("rollback", "asr", number or 2)]


async def test_what_was_stopped_long_ago_is_shown_under_a_filter(app: DeployApp) -> None:
    async with app.run_test(size=(110, 30)) as pilot:
        old = replace(STOPPED, since=NOW - 8 * 86400)
        await told(pilot, app, grouped((*VIEWS, old), RELEASES))
        assert "1 hidden: / state=stopped" in text_of(app)
        assert "asr" not in [row.key for row in app.deploy.table("services").rows]
        await pilot.press("slash", *"state=stopped", "enter")
        assert [row.key for row in app.deploy.table("services").rows] == ["asr"]


async def test_the_end_of_a_service_is_put_off(app: DeployApp) -> None:
    async with app.run_test(size=(110, 30)) as pilot:
        bounded = replace(VIEWS[1], until=NOW + 3600)
        await told(pilot, app, grouped((VIEWS[0], bounded), RELEASES))
        await go_to(pilot, app, "llm-chat")
        await pilot.press("e")
        await until(pilot, lambda: bool(app.lab.notices), "nothing was told")
        assert "llm-chat has no end: it runs until it is stopped" in app.lab.notices[0].text
        await go_to(pilot, app, "embed")
        for text, done in (("soon", []), ("12h", [("extend", "embed", 43200.0)])):
            await pilot.press("e")
            await until(pilot, lambda: isinstance(app.screen, Form), "no form")
            assert "Not yours: bo may need the GPUs" in text_of(app)
            await pilot.press("ctrl+u", *text, "enter", "tab", "enter")
            await until(pilot, lambda: not isinstance(app.screen, Form), "the form stays")
            await pilot.pause()
            assert app.answers.done == done
