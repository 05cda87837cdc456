"""Dialogs of the history screen: the choice of columns, and the confirmation of a removal with
its effects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from hostler.model.views.history import HistoryRow
from hostler_tui.runs.questions import Question
from hostler_tui.table_rows import Head, Row
from hostler_tui.widgets.modal import Sheet
from hostler_tui.widgets.table import Table

MOST_EFFECTS = 12
"""The most runs, or effects on them, that a question names."""


class Columns(Sheet):
    """Choose columns; their names, one per line."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", "take", show=False, priority=True),
    ]

    def __init__(self, columns: Sequence[str], shown: Sequence[str]) -> None:
        super().__init__("Columns", "space shows or hides   enter applies   esc cancels")
        self._columns, self._shown = tuple(columns), frozenset(shown)

    def body(self) -> Iterable[Widget]:
        """All columns."""
        yield Table([Head("COLUMN", 30, flex=True)], id="choices", markable=True)

    def on_mount(self) -> None:
        """Visible columns are marked."""
        table = self.query_one(Table)
        table.show([Row(name, (name,)) for name in self._columns])
        table.mark(self._shown)
        table.focus()

    def action_take(self) -> None:
        """Take the marked columns."""
        marks = self.query_one(Table).marks
        self.dismiss("\n".join(name for name in self._columns if name in marks))


def forget_question(runs: Sequence[HistoryRow], uid: int, losses: Sequence[str] = ()) -> Question:
    """For one run: type its id; for several: their number. `losses`: unfetched files."""
    ids = [run.run_id for run in runs]
    effects = [
        f"{run.run_id} {run.pipeline} by {run.owner}: {run.state}" for run in runs[:MOST_EFFECTS]
    ]
    if len(runs) > MOST_EFFECTS:
        effects.append(f"and {len(runs) - MOST_EFFECTS} more")
    effects += losses
    others = sorted({run.owner for run in runs if run.uid != uid})
    if others:
        effects.append(f"Not yours: {', '.join(others)} may need it")
    several = len(runs) > 1
    return Question(
        f"Remove {len(runs)} runs, with logs, outputs and files on hosts?"
        if several
        else f"Remove run {ids[0]}, with logs, outputs and files on hosts?",
        tuple(effects),
        "remove them" if several else "remove it",
        " ".join(["hostler rm", *ids, "--yes"]),
        str(len(runs)) if several else ids[0],
    )
