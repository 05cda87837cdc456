"""The command palette: which objects and actions it lists and in which order; fuzzy.py scores
them, palette.py has the colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from textual import on
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input

from hostler.show.gpus import owners_text
from hostler_tui.actions import key_text
from hostler_tui.fuzzy import best, score
from hostler_tui.lab import Lab
from hostler_tui.screen_actions import for_screen
from hostler_tui.table_rows import Head, Row
from hostler_tui.widgets.modal import Sheet
from hostler_tui.widgets.table import Table
from hostler_tui.widgets.text_line import TextLine, is_latest

HEADS = (
    Head("", 7), Head("NAME", 14, flex=True), Head("WHAT", 12, flex=True, drop=2),
    Head("KEY", 6, drop=1),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """An object to open, or an action."""

    key: str
    """ "host NAME", "run ID", "service KEY" or "do ACTION"."""
    kind: str
    name: str
    what: str
    keys: str = ""

    def score(self, letters: str) -> float | None:
        """How well these letters match: its name, else words of its description."""
        by_name = score(letters, self.name)
        if by_name is not None:
            return by_name + 100.0
        return 0.0 if letters.strip().lower() in self.what.lower() else None


def actions_of(screen: str) -> list[Found]:
    """The actions of a screen, except the palette itself."""
    return [
        Found(f"do {a.name}", "action", a.title, a.help, key_text(a.keys[0]) if a.keys else "")
        for a in for_screen(screen)
        if a.name != "palette"
    ]


def objects_of(lab: Lab) -> list[Found]:
    """Hosts, open runs and services."""
    found = []
    for host in lab.told["hosts"]:
        says = owners_text(host, lab.told["at"])
        found.append(Found(f"host {host['host']}", "host", str(host["host"]), says))
    for run in lab.runs:
        says = f"{run.pipeline} of {run.owner}, {run.state}"
        found.append(Found(f"run {run.run_id}", "run", run.run_id, says))
    for one in lab.services:
        says = f"{one.ready}/{one.wanted} of {one.owner}, {one.state}"
        found.append(Found(f"service {one.key}", "service", one.name, says))
    return found


class _Typed(TextLine):
    """The typed letters; up and down belong to the list."""

    BINDINGS = [  # noqa: RUF012
        Binding("up", "screen.step(-1)", "up", show=False),
        Binding("down", "screen.step(1)", "down", show=False),
        Binding("pageup", "screen.page(-1)", "page up", show=False),
        Binding("pagedown", "screen.page(1)", "page down", show=False),
    ]


class Finder(Sheet):
    """Returns the key of the chosen entry, or None."""

    BINDINGS: list[BindingType] = []  # type: ignore[misc]  # noqa: RUF012

    def __init__(self, items: Sequence[Found]) -> None:
        super().__init__(
            "Find anything: hosts, runs, services, actions", "enter opens or runs it   esc closes"
        )
        self._items = tuple(items)

    def body(self) -> Iterable[Widget]:
        """Letters above, matches below."""
        yield _Typed(placeholder="a few letters", id="letters", compact=True)
        yield Table(HEADS, id="found")

    def on_mount(self) -> None:
        """Show everything until letters are typed."""
        self._show("")
        self.query_one(_Typed).focus()

    @on(Input.Changed)
    def search(self, event: Input.Changed) -> None:
        """Show the entries that match these letters."""
        event.stop()
        if is_latest(event):
            self._show(event.value)

    @on(Input.Submitted)
    def choose_typed(self, event: Input.Submitted) -> None:
        """Choose the row at the cursor."""
        event.stop()
        self.dismiss(self.query_one(Table).cursor)

    @on(Table.Chosen)
    def choose(self, message: Table.Chosen) -> None:
        """Choose by click."""
        message.stop()
        self.dismiss(message.key)

    def action_step(self, by: int) -> None:
        """To the row below or above."""
        self.query_one(Table).action_step(by)

    def action_page(self, by: int) -> None:
        """One screenful further."""
        self.query_one(Table).action_page(by)

    def _show(self, letters: str) -> None:
        found = best(self._items, lambda item: item.score(letters))
        table = self.query_one(Table)
        table.show([Row(f.key, ((f.kind, "dim"), f.name, (f.what, "dim"), (f.keys, "key")))
                    for f in found])  # fmt: skip
        table.action_edge(-1)
