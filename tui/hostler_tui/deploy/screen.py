"""The deployments screen: its tables, sizes of panes, where charts and the log's end are shown;
deploy/rows.py has columns and stopped services."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from textual import events, on, work
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widget import Widget

from hostler.base.errors import HostlerError
from hostler.show.progress import gpu_indices
from hostler_tui.deploy.acts import DeployActs
from hostler_tui.deploy.curves import Curves, chart_block, curves_of, traffic_line
from hostler_tui.deploy.lines import EMPTY, chosen_lines
from hostler_tui.deploy.rows import (
    FIELDS,
    RELEASE_HEADS,
    REPLICA_HEADS,
    SERVICE_HEADS,
    is_old,
    release_rows,
    replica_rows,
    service_rows,
    summary,
)
from hostler_tui.deploy.tail import LogTail
from hostler_tui.filtering import Filter
from hostler_tui.lines import Line, line
from hostler_tui.runs.lines import as_of
from hostler_tui.services import Replica, Service
from hostler_tui.widgets.ask_line import AskLine
from hostler_tui.widgets.chart import LEAST_HEIGHT
from hostler_tui.widgets.pane import Pane
from hostler_tui.widgets.table import Table

PANES = ("services", "replicas", "releases")
"""The tables, in the order of Tab."""
SHORT = 20
"""Rows of a screen; shorter screens show one table at a time."""
CHOSEN = 4
"""The most lines about the selected service."""
CHARTS_WIDE, CHARTS_HIGH = 118, 28
"""The smallest screen that shows charts beside the tables."""
TAIL_HIGH, MOST_RELEASES = 38, 9
"""The fewest rows of a screen that shows the end of a log, and the most releases above it."""
CHARTS, WIDE_CHARTS = 46, 62
"""Cells of the charts' pane, as in the styles below."""
IMAGES_ASKED = 8
"""The number of newest releases whose image is shown."""
_AMISS = ("unhealthy", "unknown", "starting", "waiting")


class ImageTold(Message):
    """The image of a run's service; "" for a process."""

    def __init__(self, run_id: str, image: str) -> None:
        super().__init__()
        self.run_id, self.image = run_id, image


class DeployScreen(DeployActs):
    """The fourth screen."""

    NAME = "deploy"

    DEFAULT_CSS = """
    DeployScreen #none { display: none; height: auto; }
    DeployScreen #lower { height: 1fr; }
    DeployScreen #tables { width: 1fr; }
    DeployScreen #charts { display: none; width: 46; height: 1fr;
                           border-left: solid $foreground-darken-3; }
    DeployScreen.-wide #charts { width: 62; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._wanted = Filter()
        self._images: dict[str, str] = {}
        self._asked: set[str] = set()
        self._drawn: object = None
        self._made_curves: tuple[int, Mapping[str, Curves]] = (-1, {})
        self._open = ""
        """The service to select once it exists."""

    def body(self) -> Iterable[Widget]:
        """Counts, services, and below them the selected one."""
        yield Pane(id="counts")
        yield AskLine(FIELDS)
        yield Pane(EMPTY, id="none")
        yield Table(SERVICE_HEADS, rests=True, id="services")
        yield Pane(id="chosen")
        with Horizontal(id="lower"):
            with Vertical(id="tables"):
                yield Table(REPLICA_HEADS, rests=True, id="replicas")
                yield Table(RELEASE_HEADS, markable=True, rests=True, id="releases")
                yield LogTail()
            yield Pane(id="charts")

    def on_mount(self) -> None:
        """The services get the focus."""
        self.table("services").focus()

    def table(self, name: str) -> Table:
        """One of the three."""
        return self.query_one(f"#{name}", Table)

    @property
    def pane(self) -> str:
        """The table with the focus; the table of services if no table has it."""
        focused = self.focused.id if self.focused is not None else None
        return focused if focused in PANES else PANES[0]

    def draw_body(self) -> None:
        """Draw the model; nothing if it has not changed."""
        now = as_of(self.lab, time.time())
        seen = (
            self.lab.services_version, self.lab.are_services_known, self.lab.is_live,
            self.lab.fleet_version, self._wanted, self.size, int(now), self.pane,
            len(self._images), self.app.palette_of_look.look, self.lab.traffic_version,
        )  # fmt: skip
        if seen != self._drawn:
            self._drawn = seen
            self._draw_services(now)
            self._draw_chosen(now)
        self._draw_tail()

    def _draw_services(self, now: float) -> None:
        known, services = self.lab.are_services_known, self.lab.services
        stale = not self.lab.is_live
        wanted, width = self._wanted, self.size.width
        rows = service_rows(services, wanted, now, self._curves, width=width, stale=stale)
        table = self.table("services")
        table.show(rows, view=self._wanted)
        if self._open and any(row.key == self._open for row in rows):
            table.put_cursor(self._open)
            self._open = ""
        self.query_one("#none").display = known and not rows and not wanted
        old = sum(is_old(one, now) for one in services) if not wanted else 0
        self.query_one("#counts", Pane).show([self._counts(len(rows), old)])

    def _counts(self, shown: int, old: int) -> Line:
        if not self.lab.are_services_known:
            said = " loading the services ..." if self.lab.connected else " connecting ..."
            return line((said, "dim"))
        filtered = f"   / {self._wanted.text} ({shown} shown)" if self._wanted else ""
        hidden = f"   {old} hidden: / state=stopped" if old else ""
        return line(f" {summary(self.lab.services)}", (filtered, "accent"), (hidden, "dim"))

    def _draw_chosen(self, now: float) -> None:
        one = self.chosen
        replicas, releases = self.table("replicas"), self.table("releases")
        self._lay_out(one)
        if one is None:
            nothing = self.table("services").nothing if self.lab.services else ""
            lines = [line((f" {nothing}", "warn"))] if nothing else []
            self.query_one("#chosen", Pane).show(lines)
            replicas.show(())
            releases.show(())
            self._draw_charts(None)
            return
        most = 2 if self.size.height < SHORT else CHOSEN
        curves, width = self._curves.get(one.key), self.size.width
        said = chosen_lines(one, now, width, most)
        drawn = None if self._has_charts else traffic_line(one, curves, width)
        self.query_one("#chosen", Pane).show([*said, drawn] if drawn is not None else said)
        self._draw_charts(curves)
        indices = gpu_indices(self.lab.fleet) if self.lab.fleet else {}
        replicas.show(replica_rows(one.replicas, indices, now), view=one.key)
        releases.show(release_rows(one, self._images, now), view=one.key)
        self._ask_images(one)

    def _draw_tail(self) -> None:
        tail = self.query_one(LogTail)
        has_log = self.chosen is not None and not self.chosen.is_stopped
        tail.display = self.size.height >= TAIL_HIGH and has_log
        tail.show(self.chosen_replica if tail.display and self.lab.connected else None)

    def on_screen_suspend(self) -> None:
        """The log is not visible now."""
        if self.is_whole:
            self.query_one(LogTail).show(None)

    @property
    def _curves(self) -> Mapping[str, Curves]:
        """The curves, made once for each answer."""
        if self._made_curves[0] != self.lab.traffic_version:
            made = {key: curves_of(history) for key, history in self.lab.traffic.items()}
            self._made_curves = self.lab.traffic_version, made
        return self._made_curves[1]

    @property
    def _has_charts(self) -> bool:
        """Whether there is space for charts beside the tables, and data to draw."""
        one = self.chosen
        has_room = self.size.width >= CHARTS_WIDE and self.size.height >= CHARTS_HIGH
        return has_room and one is not None and one.key in self._curves

    def _draw_charts(self, curves: Curves | None) -> None:
        pane = self.query_one("#charts", Pane)
        pane.display = self._has_charts
        if curves is not None and pane.display:
            height = self.query_one("#lower").size.height
            width = (WIDE_CHARTS if self.has_class("-wide") else CHARTS) - 2
            pane.show(chart_block(curves, width, max(LEAST_HEIGHT, height)))

    def _lay_out(self, one: Service | None) -> None:
        """Each table gets the height that it needs, if that fits; short screens show one table."""
        pane, height = self.pane, self.size.height
        is_short = height < SHORT
        sizes = {
            "services": len(self.table("services").rows) + 1,
            "replicas": len(one.replicas) + 1 if one is not None else 0,
            "releases": len(one.releases) + 1 if one is not None else 0,
        }
        most = {"services": max(4, height // 3), "replicas": max(3, height // 4)}
        is_tall = height >= TAIL_HIGH
        most |= {"releases": MOST_RELEASES} if is_tall else {}
        for name in PANES:
            table = self.table(name)
            shown = sizes[name] > 1 or name == "services"
            table.display = pane == name if is_short else shown
            low = min(sizes[name], most.get(name, height))
            is_rest = is_short or (name == "releases" and not is_tall)
            table.styles.height = "1fr" if is_rest else max(2, low)
        self.query_one("#lower").display = not is_short or pane != "services"

    @property
    def chosen(self) -> Service | None:
        """The service at the cursor."""
        key = self.table("services").cursor
        return next((one for one in self.lab.services if one.key == key), None)

    @property
    def chosen_replica(self) -> Replica | None:
        """The replica at the cursor; outside the replicas, the first one with a problem."""
        if self.chosen is None:
            return None
        known = [r for r in self.chosen.replicas if r.view.state != "ended"]
        key = self.table("replicas").cursor if self.pane == "replicas" else None
        at_cursor = next((replica for replica in known if replica.key == key), None)
        amiss = (r for r in known if r.view.state in _AMISS and r.view.host is not None)
        return at_cursor or next(amiss, known[0] if known else None)

    def chosen_releases(self) -> Sequence[int]:
        """The marked releases, or the one at the cursor."""
        table = self.table("releases")
        keys = table.targets if table.marks or self.pane == "releases" else ()
        return [int(key) for key in keys]

    def nothing(self) -> str:
        """Why no service is selected."""
        return self.table("services").nothing

    def acted(self, service: str = "") -> None:
        """Clear the marks; a new service is selected as soon as it exists."""
        self.table("releases").clear_marks()
        self._open = service or self._open

    def open(self, key: str) -> None:
        """Select a service."""
        self._open, self._drawn = key, None
        if self.is_whole:
            self.draw()

    def selected_id(self) -> str | None:
        """The service's name; among releases, the run's id."""
        if self.pane == "releases":
            return self._run_of(self.table("releases").cursor)
        if self.pane == "replicas" and self.chosen_replica is not None:
            return self.chosen_replica.part.run_id
        return self.chosen.name if self.chosen is not None else None

    def selected_command(self) -> str | None:
        """The command that shows it."""
        one = self.chosen
        if one is None:
            return None
        if self.pane == "releases":
            return f"hostler releases {one.name}"
        return f"hostler services {one.name if one.is_deployed else one.parts[0].run_id}"

    def _run_of(self, number: str | None) -> str | None:
        found = self.chosen.releases if self.chosen is not None else ()
        return next((each.run_id for each in found if str(each.number) == number), None)

    @on(Table.Moved)
    def follow_cursor(self, message: Table.Moved) -> None:
        """Show another service, at once."""
        if type(message) is Table.Moved and message.table.id == "services":
            self.table("releases").clear_marks()
            self._draw_chosen(as_of(self.lab, time.time()))

    @on(Table.Chosen)
    def open_chosen(self) -> None:
        """Enter, or a second click."""
        self.action_open()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """A short screen shows another table."""
        if self.is_whole and isinstance(event.widget, Table):
            self.draw_body()

    @on(AskLine.Changed)
    def use_filter(self, message: AskLine.Changed) -> None:
        """Show only matching rows."""
        self._wanted = message.filter
        self.draw_body()

    def action_open(self) -> None:
        """From a service to its releases, or its replicas; else to a run, or a log."""
        one = self.chosen
        if one is None:
            self.app.tell(self.nothing(), "warning")
        elif self.pane == "services":
            self._focus("releases" if one.is_deployed else "replicas")
        elif self.pane == "replicas":
            self.action_log()
        elif (run_id := self._run_of(self.table("releases").cursor)) is not None:
            self.app.open_run(run_id)

    def action_other_pane(self) -> None:
        """The next table that has rows."""
        shown = [name for name in PANES if name == "services" or self.table(name).rows]
        at = shown.index(self.pane) if self.pane in shown else 0
        self._focus(shown[(at + 1) % len(shown)])

    def _focus(self, name: str) -> None:
        """A hidden table cannot have the focus: short screens show it first."""
        table = self.table(name)
        table.display = self.query_one("#lower").display = True
        self.set_focus(table)

    def action_back(self) -> None:
        """Clear marks first, then go to the services."""
        if self.table("releases").marks:
            self.table("releases").clear_marks()
        else:
            self._focus("services")

    def action_filter(self) -> None:
        """Type a filter."""
        self.query_one(AskLine).open()

    def _ask_images(self, one: Service) -> None:
        """Request each run's image once: it does not change."""
        unknown = [r.run_id for r in one.releases[:IMAGES_ASKED] if r.run_id not in self._asked]
        if unknown and self.lab.is_live:
            self._asked.update(unknown)
            self._learn_images(unknown)

    @work(group="images", exit_on_error=False)
    async def _learn_images(self, run_ids: Sequence[str]) -> None:
        for run_id in run_ids:
            try:
                run = await self.app.client.show(run_id)
            except HostlerError:
                continue  # removed, or the daemon is away
            kinds = [stage for stage in run.stages if stage.kind == "service"]
            image = next((stage.image for stage in kinds if stage.image), "")
            self.post_message(ImageTold(run_id, image or ""))

    @on(ImageTold)
    def take_image(self, message: ImageTold) -> None:
        """Show it from now on."""
        self._images[message.run_id] = message.image
