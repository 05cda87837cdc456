"""The app of the terminal UI: starts, opens screens, quits after a second `q`; how often it
redraws, from which size on a screen is wide or tall."""

from __future__ import annotations

import gc
import importlib
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual._styles_cache import StylesCache
from textual.await_complete import AwaitComplete
from textual.binding import BindingType
from textual.filter import LineFilter, Monochrome
from textual.screen import Screen

from hostler.base.errors import HostlerError
from hostler.client import AsyncClient
from hostler.quick.socket import Found, find_socket
from hostler_tui import cache
from hostler_tui.backgrounds import Colourless, Grounded
from hostler_tui.feed import Feed
from hostler_tui.lab_app import HostTools, LabApp, NoTools
from hostler_tui.messages import (
    AlertsSeen,
    DaemonLost,
    DaemonMet,
    FleetSeen,
    HourSeen,
    RunsSeen,
    ServicesSeen,
    TrafficSeen,
)
from hostler_tui.palette import LOOKS, THEMES, Palette
from hostler_tui.screen_actions import MAIN_SCREENS
from hostler_tui.widgets.lab_screen import LabScreen

TICK = 0.5
"""Seconds between two reads of the model; requests to the daemon have their own interval."""

FORGET_EVERY = 30.0
"""Seconds between two clean-ups after closed screens."""

OPENED_S = 0.02
"""Seconds between two checks whether a screen that is to be closed is open."""

SETTLED_S = 1.0
"""Seconds after which loaded objects stay until the end."""

GARBAGE_EVERY = 5000
"""Containers made between two searches for garbage; an answer of a large lab has a thousand."""

QUIT_WINDOW_S = 5.0
"""Seconds within which a second `q` quits while runs are open."""


def later(room: str, name: str) -> Callable[[], LabScreen]:
    """Makes the screen of that name from its folder."""

    def make() -> LabScreen:
        made: LabScreen = getattr(importlib.import_module(f"hostler_tui.{room}.screen"), name)()
        return made

    return make


class HostlerApp(LabApp):
    """Connects model and feed, ticks, and opens screens; other classes do the rest."""

    CSS = """
    Screen { layout: vertical; background: $background; }
    #top { height: 1; } #foot { dock: bottom; }
    """
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (140, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (20, "-medium"), (40, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = []
    MAIN_SCREENS: ClassVar[dict[str, Callable[[], LabScreen]]] = {
        main.name: later(main.name, main.screen) for main in MAIN_SCREENS
    }
    """Each is a mode of Textual, under its name."""
    DEFAULT_MODE = "fleet"

    def __init__(
        self, find: Callable[[], Found] = find_socket, tools: HostTools | None = None
    ) -> None:
        super().__init__(tools or NoTools())
        self._find = find
        self._seen = _where_seen()
        self._asked_to_quit_at = 0.0
        self._colourless = Colourless()
        self._grounded = Grounded(self.palette_of_look.ground)

    def get_default_screen(self) -> LabScreen:
        """The first main screen. From here, Textual puts it on the stack before it makes its
        widgets; one of `MODES` only afterwards. From Python 3.12 on widgets are made at once, and
        one that asks for the app's screen, as an Input does, would find none."""
        return self._make_styled(self.MAIN_SCREENS[self.DEFAULT_MODE])

    def _make_styled(self, make: Callable[[], LabScreen]) -> LabScreen:
        """A main screen that counts as styled with the present theme, as a new screen is. Else
        Textual reads all style sheets and styles all widgets again, twice, when it is opened."""
        screen = make()
        screen._css_update_count = self._css_update_count
        return screen

    def on_mount(self) -> None:
        """Draw the last known state at once, then connect."""
        for mode, make in self.MAIN_SCREENS.items():
            self.add_mode(mode, partial(self._make_styled, make))
        self._wear(self.palette_of_look.look)
        if self._seen is not None:
            self.lab.fleet, self.lab.fleet_seen_at = cache.load(self._seen)
        self.set_interval(TICK, self._tick)
        if not self.is_headless:  # the process is this app's alone
            self.set_timer(SETTLED_S, _settle)
        self.set_interval(FORGET_EVERY, forget_closed)
        self._connect()

    @work(thread=True, exclusive=True, group="connect", exit_on_error=False)
    def _connect(self) -> None:
        """Find the daemon, and start it if necessary; not on the event loop."""
        while self.is_running and self._client is None:
            try:
                found = self._find()
            except HostlerError as error:
                self.call_from_thread(self.post_message, DaemonLost(str(error), time.time()))
                time.sleep(1.0)
                continue
            self.call_from_thread(self._follow, found)
            return

    def _follow(self, found: Found) -> None:
        self._client = AsyncClient(found=found)
        if found.hint:
            self.tell(found.hint, "warning")
        self._feed = Feed(self._client, self.post_message)
        for follow in (
            self._feed.follow_fleet, self._feed.follow_runs,
            self._feed.follow_events, self._feed.follow_hour, self._feed.follow_alerts,
            self._feed.services.follow_services, self._feed.services.follow_traffic,
        ):  # fmt: skip
            self.run_worker(follow(), group=follow.__name__, exit_on_error=True)

    @on(FleetSeen)
    def take_fleet(self, message: FleetSeen) -> None:
        """The fleet, at once on the screen the first time."""
        first = not self.lab.connected
        self.lab.see_fleet(message.fleet, message.at)
        if first:
            self._tick()

    @on(RunsSeen)
    def take_runs(self, message: RunsSeen) -> None:
        """The open runs."""
        self.lab.see_runs(message.runs, are_more=message.are_more)

    @on(HourSeen)
    def take_hour(self, message: HourSeen) -> None:
        """The fleet's last hour."""
        self.lab.history = message.history

    @on(AlertsSeen)
    def take_alerts(self, message: AlertsSeen) -> None:
        """The alerts."""
        self.lab.see_alerts(message.alerts, message.open_count)

    @on(ServicesSeen)
    def take_services(self, message: ServicesSeen) -> None:
        """The services."""
        self.lab.see_services(message.services)

    @on(TrafficSeen)
    def take_traffic(self, message: TrafficSeen) -> None:
        """The gateway's counts."""
        self.lab.see_traffic(message.traffic)

    @on(DaemonMet)
    def take_daemon(self, _message: DaemonMet) -> None:
        """The daemon that answers."""
        if self.lab.lost_since is not None:
            self.tell("the daemon answers again")

    @on(DaemonLost)
    def take_loss(self, message: DaemonLost) -> None:
        """The daemon does not answer: known values stay, with their age."""
        self.lab.lose(message.why, message.at)

    def _tick(self) -> None:
        if not self.screen_stack:  # it is being closed
            return
        screen = self.screen
        if isinstance(screen, LabScreen) and not self.is_paused:
            screen.draw()

    def pop_screen(self) -> AwaitComplete:
        """Back to the screen below. A second escape before the first was processed finds none, and
        does nothing."""
        if len(self.screen_stack) > 1:
            return super().pop_screen()
        return AwaitComplete.nothing()  # type: ignore[no-untyped-call,no-any-return]

    def action_go(self, mode: str) -> None:
        """Go to a main screen; if it is below another screen, back to it."""
        if mode not in self.MAIN_SCREENS:
            return
        if self.current_mode != mode:
            self.switch_mode(mode)
        self._close(self.screen_stack[1:])

    def _close(self, screens: Sequence[Screen[object]]) -> None:
        """Close these screens if they are on top; a screen that is being opened is closed once it
        is open."""
        while self.screen in screens:
            if not self.screen.is_mounted:
                self.set_timer(OPENED_S, partial(self._close, screens))
                return
            self.screen.dismiss()  # whoever waits for its answer hears that there is none

    def action_pause(self) -> None:
        """Freeze the display, or resume."""
        self.is_paused = not self.is_paused
        if isinstance(self.screen, LabScreen):
            self.screen.draw()

    def action_theme(self) -> None:
        """The next colour theme."""
        looks = list(LOOKS)
        self._wear(looks[(looks.index(self.palette_of_look.look) + 1) % len(looks)])
        self.tell(f"look: {self.palette_of_look.look}")

    def get_line_filters(self) -> Sequence[LineFilter]:
        """The look's background under everything, or no colour; no colour becomes a grey."""
        if self.palette_of_look.look == "plain":
            return (self._colourless,)
        kept = [f for f in super().get_line_filters() if not isinstance(f, Monochrome)]
        return [*kept, self._grounded]

    def _wear(self, look: str) -> None:
        self.palette_of_look = Palette(look)
        self._grounded = Grounded(self.palette_of_look.ground)
        self.theme = THEMES[look]
        self._tick()

    def action_help(self) -> None:
        """The keys of this screen."""
        from hostler_tui.widgets.help_sheet import HelpScreen  # not needed for the first picture

        self.push_screen(HelpScreen(_name_of(self.screen)))

    def action_notices(self) -> None:
        """The notices so far."""
        from hostler_tui.widgets.help_sheet import NoticesScreen

        self.push_screen(NoticesScreen(self.lab.notices))

    def action_palette(self) -> None:
        """Find an object or action by a few letters."""
        from hostler_tui.widgets.palette_sheet import Finder, actions_of, objects_of

        items = [*objects_of(self.lab), *actions_of(_name_of(self.screen))]
        self.push_screen(Finder(items), self._go_to)

    async def _go_to(self, key: str | None) -> None:
        kind, _, name = (key or "").partition(" ")
        if kind == "do":
            own = hasattr(self.screen, f"action_{name.partition('(')[0]}")
            await self.run_action(name, self.screen if own else self)
        elif kind == "host":
            self.open_host(name)
        elif kind == "run":
            self.open_run(name)
        elif kind == "service":
            self._open_service(name)

    def open_host(self, name: str) -> None:
        """Open a host's own screen, above the fleet's."""
        from hostler_tui.host.screen import HostScreen

        self.action_go("fleet")
        self.push_screen(HostScreen(name))

    def open_run(self, run_id: str, stage: str = "", page: str = "") -> None:
        """Open a run's own screen, at a stage; on the last viewed page, or this one."""
        from hostler_tui.run.screen import RunScreen  # not needed for the first picture

        came_from = self.current_mode
        self.action_go("run")
        screen = self.screen
        if isinstance(screen, RunScreen):
            screen.open(run_id, stage, came_from if came_from != "run" else None, page)

    def _open_service(self, key: str) -> None:
        """Open the services' screen, with the cursor on one."""
        from hostler_tui.deploy.screen import DeployScreen  # not needed for the first picture

        self.action_go("deploy")
        if isinstance(self.screen, DeployScreen):
            self.screen.open(key)

    def compare(self, run_ids: Sequence[str]) -> None:
        """Show runs beside each other, above the present screen."""
        from hostler_tui.compare.screen import CompareScreen  # not needed for the first picture

        self.push_screen(CompareScreen(run_ids))

    def action_copy_id(self) -> None:
        """Copy the id of the selected object."""
        self.copy_text(self.screen.selected_id() if isinstance(self.screen, LabScreen) else None)

    def action_copy_command(self) -> None:
        """Copy the command line for the selected object."""
        self.copy_text(
            self.screen.selected_command() if isinstance(self.screen, LabScreen) else None
        )

    def action_quit_asking(self) -> None:
        """Quit; with open runs only at the second press, after a notice that they continue."""
        now, open_runs = time.monotonic(), len(self.lab.runs)
        if open_runs and now - self._asked_to_quit_at > QUIT_WINDOW_S:
            self._asked_to_quit_at = now
            self.tell(f"{_after_quit(open_runs)}; q again to leave", "warning")
            return
        if self._seen is not None and self.lab.fleet is not None and self.lab.connected:
            cache.save(self.lab.fleet, self._seen)
        self.exit(0)


def _after_quit(open_runs: int) -> str:
    """What happens to open runs."""
    if os.environ.get("HOSTLER_DEMO"):
        runs = "1 simulated run ends" if open_runs == 1 else f"{open_runs} simulated runs end"
        return f"{runs} with this demo"
    runs = "1 run continues" if open_runs == 1 else f"{open_runs} runs continue"
    return f"{runs} without this window"


def _where_seen() -> Path | None:
    """The file of the last known state; None if the configuration cannot be read."""
    try:
        return cache.path(find_socket().path)
    except HostlerError:
        return None


def forget_closed() -> None:
    """Let go of the lines of widgets that are gone. Textual remembers two styles for each of its
    line caches, and with them the cache: of the last thousand widgets, tens of megabytes."""
    StylesCache.get_inner_outer.cache_clear()


def _settle() -> None:
    """Exclude loaded objects from garbage collection, which took 40 ms each time."""
    gc.freeze()
    gc.set_threshold(GARBAGE_EVERY)


def _name_of(screen: Screen[object]) -> str:
    """The name of a main screen, for the table of actions."""
    return screen.NAME if isinstance(screen, LabScreen) else ""


def main(find: Callable[[], Found] = find_socket, tools: HostTools | None = None) -> int:
    """Open the screen on the daemon that `find` names or starts; the exit code."""
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    if os.environ.get("NO_COLOR") == "":
        del os.environ["NO_COLOR"]  # empty means no such wish; Textual would take it for one
    return HostlerApp(find=find, tools=tools).run() or 0
