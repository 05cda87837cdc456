"""The table of live rows. Textual's DataTable costs five times as much for 400 of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from hostler.quick.table import cell_width, cut, pad
from hostler.text import clean
from hostler_tui.lines import Line, strip_of
from hostler_tui.palette import Palette

if TYPE_CHECKING:
    from hostler_tui.app import HostlerApp


@dataclass(frozen=True, slots=True)
class Head:
    """A column: where space is short, the one with the highest `drop` goes first."""

    title: str
    width: int
    flex: bool = False
    """Takes what is left of the width."""
    right: bool = False
    drop: int = 0
    """0: always shown."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row: cells in the order of the heads, each plain text or text with a role or spans."""

    key: str
    cells: tuple[str | tuple[str, str] | Line, ...]
    role: str = ""
    """Of the whole row: "dim" for old values."""
    selectable: bool = True
    whole: bool = False
    """Its first cell goes over all columns: a heading."""


def visible_heads(heads: Sequence[Head], width: int) -> list[int]:
    """The columns that fit into a width, in their order. Rows are never dropped, columns are."""
    kept = list(range(len(heads)))
    while len(kept) > 1 and sum(heads[i].width + 1 for i in kept) - 1 > width:
        worst = max(kept, key=lambda i: heads[i].drop)
        if heads[worst].drop == 0:
            break
        kept.remove(worst)
    return kept


def widths_of(heads: Sequence[Head], kept: Sequence[int], width: int) -> list[int]:
    """How wide each kept column is: what is left goes to the flexible ones in equal parts."""
    left = width - sum(heads[i].width + 1 for i in kept) + 1
    flexible = [i for i in kept if heads[i].flex]
    share, odd = divmod(max(0, left), len(flexible)) if flexible else (0, 0)
    extra = {i: share + (n < odd) for n, i in enumerate(flexible)}
    return [max(1, heads[i].width + extra.get(i, 0)) for i in kept]


def spans_of(cell: str | tuple[str, str] | Line, width: int, right: bool) -> Line:
    """A cell as spans of exactly `width` cells."""
    if isinstance(cell, str):
        return ((pad(cut(clean(cell), width), width, right=right), ""),)
    if len(cell) == 2 and isinstance(cell[0], str) and isinstance(cell[1], str):
        return ((pad(cut(clean(cell[0]), width), width, right=right), cell[1]),)
    spans: list[tuple[str, str]] = []
    left = width
    for text, role in cell:
        shown = cut(clean(text), left)
        spans.append((shown, role))
        left -= cell_width(shown)
    return (*spans, (" " * max(0, left), ""))


class Table(ScrollView, can_focus=True):
    """Rows with a cursor that stays on its key, whatever comes and goes around it."""

    app: HostlerApp

    DEFAULT_CSS = """
    Table { height: 1fr; background: transparent; scrollbar-size-vertical: 1;
            scrollbar-size-horizontal: 0; overflow-x: hidden; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "step(1)", "down", show=False),
        Binding("k,up", "step(-1)", "up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("home", "edge(-1)", "first", show=False),
        Binding("end", "edge(1)", "last", show=False),
        Binding("enter", "choose", "open", show=False),
        Binding("space", "mark", "mark", show=False),
    ]

    class Moved(Message):
        """The cursor went to another row."""

        def __init__(self, table: Table, key: str | None) -> None:
            super().__init__()
            self.table, self.key = table, key

        @property
        def control(self) -> Table:
            """The table, for selectors of handlers."""
            return self.table

    class Chosen(Moved):
        """Enter, or a click on the row of the cursor."""

    class HeadClicked(Message):
        """A click on a column's title."""

        def __init__(self, table: Table, title: str) -> None:
            super().__init__()
            self.table, self.title = table, title

        @property
        def control(self) -> Table:
            """The table, for selectors of handlers."""
            return self.table

    def __init__(self, heads: Sequence[Head], *, markable: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._heads = tuple(heads)
        self._rows: tuple[Row, ...] = ()
        self._at: int = 0
        self._markable = markable
        self._marks: frozenset[str] = frozenset()
        self._strips: dict[str, tuple[tuple[Any, ...], Strip]] = {}
        """Of each row the last one drawn, and what it was drawn for: rows of a live lab change all
        the time, and what is past is not drawn again."""
        self._look: Palette | None = None

    @property
    def rows(self) -> tuple[Row, ...]:
        """What it shows."""
        return self._rows

    @property
    def cursor(self) -> str | None:
        """The key of the row that the cursor is on."""
        return self._rows[self._at].key if self._at < len(self._rows) else None

    @property
    def marks(self) -> frozenset[str]:
        """The keys of the marked rows."""
        return self._marks

    def show(self, rows: Sequence[Row], heads: Sequence[Head] | None = None) -> None:
        """Show these rows: the cursor stays on its key, else at its place."""
        new, key, old = tuple(rows), self.cursor, self._rows
        if heads is not None and tuple(heads) != self._heads:
            self._heads = tuple(heads)
            old = ()
        if new == old and self._look is self.app.palette_of_look:
            return
        whole = len(new) != len(old) or self._look is not self.app.palette_of_look
        self._rows, self._look = new, self.app.palette_of_look
        self._marks &= {row.key for row in new}
        self._at = self._place_of(key)
        self.virtual_size = Size(0, len(new) + 1)
        if whole:
            self._strips.clear()
            self.refresh()
        else:
            self._refresh_changed(old, new)
        if self.cursor != key:
            self._keep_in_sight()
            self.refresh()
            self.post_message(self.Moved(self, self.cursor))

    def put_cursor(self, key: str) -> None:
        """Move the cursor to a row, where it is there."""
        for place, row in enumerate(self._rows):
            if row.key == key and row.selectable:
                self._go(place)

    def mark_all(self) -> None:
        """Mark every row that can be selected."""
        if self._markable:
            self._marks = frozenset(row.key for row in self._rows if row.selectable)
            self.refresh()

    def mark(self, keys: Iterable[str]) -> None:
        """Mark these rows and no others."""
        self._marks = frozenset(keys) & {row.key for row in self._rows}
        self.refresh()

    def clear_marks(self) -> None:
        """Unmark everything."""
        self._marks = frozenset()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """The heads at the top, the rows below."""
        width = self.scrollable_content_region.width or self.size.width
        if y == 0:
            return self._head_strip(width)
        place = y - 1 + self.scroll_offset.y
        if place >= len(self._rows):
            return strip_of((), self.app.palette_of_look, width)
        return self._row_strip(place, width)

    def action_step(self, by: int) -> None:
        """To the next row that can be selected."""
        place = self._at + by
        while 0 <= place < len(self._rows) and not self._rows[place].selectable:
            place += by
        if 0 <= place < len(self._rows):
            self._go(place)

    def action_page(self, by: int) -> None:
        """A screenful on."""
        step = max(1, self.size.height - 2)
        self._go_near(self._at + by * step, by)

    def action_edge(self, by: int) -> None:
        """To the first or the last row."""
        self._go_near(len(self._rows) - 1 if by > 0 else 0, -by)

    def action_choose(self) -> None:
        """Open the row of the cursor."""
        if self.cursor is not None:
            self.post_message(self.Chosen(self, self.cursor))

    def action_mark(self) -> None:
        """Mark the row, or unmark it, and go on."""
        if not self._markable or self.cursor is None:
            return
        self._marks ^= {self.cursor}
        self._refresh_row(self._at)
        self.action_step(1)

    def on_click(self, event: events.Click) -> None:
        """Select the row; open it where it is selected already."""
        place = event.y - 1 + self.scroll_offset.y
        if event.y == 0:
            self._tell_head(event.x)
        if event.y < 1 or place >= len(self._rows) or not self._rows[place].selectable:
            return
        if place == self._at:
            self.action_choose()
        else:
            self._go(place)

    def _tell_head(self, x: int) -> None:
        kept, widths = self._layout(self.scrollable_content_region.width or self.size.width)
        end = 2 if self._markable else 1
        for i, wide in zip(kept, widths, strict=True):
            end += wide + 1
            if x < end:
                self.post_message(self.HeadClicked(self, self._heads[i].title))
                return

    def on_resize(self) -> None:
        """The cursor stays in sight."""
        self._keep_in_sight()

    def _head_strip(self, width: int) -> Strip:
        kept, widths = self._layout(width)
        parts = [
            pad(cut(self._heads[i].title, w), w, right=self._heads[i].right)
            for i, w in zip(kept, widths, strict=True)
        ]
        gutter = "  " if self._markable else " "
        return strip_of([(gutter + " ".join(parts), "dim")], self.app.palette_of_look, width)

    def _row_strip(self, place: int, width: int) -> Strip:
        row, here = self._rows[place], place == self._at
        marked = row.key in self._marks
        drawn_for = (row, here, marked, width, self.has_focus)
        known = self._strips.get(row.key)
        if known is not None and known[0] == drawn_for:
            return known[1]
        if len(self._strips) > 2 * len(self._rows) + 100:
            self._strips.clear()
        strip = self._make_strip(row, here, marked, width)
        self._strips[row.key] = (drawn_for, strip)
        return strip

    def _make_strip(self, row: Row, here: bool, marked: bool, width: int) -> Strip:
        gutter = (">" if here else " ") + (("*" if marked else " ") if self._markable else "")
        spans: list[tuple[str, str]] = [(gutter, "accent" if here else "")]
        if row.whole:
            spans += spans_of(row.cells[0], max(1, width - len(gutter)), False)
        else:
            spans += self._cell_spans(row, width)
        if row.role:
            spans = [(text, role or row.role) for text, role in spans]
        return strip_of(spans, self.app.palette_of_look, width, "cursor" if here else "")

    def _cell_spans(self, row: Row, width: int) -> list[tuple[str, str]]:
        spans: list[tuple[str, str]] = []
        kept, widths = self._layout(width)
        for number, (i, cell_wide) in enumerate(zip(kept, widths, strict=True)):
            if number:
                spans.append((" ", ""))
            cell = row.cells[i] if i < len(row.cells) else ""
            spans += spans_of(cell, cell_wide, self._heads[i].right)
        return spans

    def _layout(self, width: int) -> tuple[list[int], list[int]]:
        room = width - (2 if self._markable else 1)
        kept = visible_heads(self._heads, room)
        return kept, widths_of(self._heads, kept, room)

    def _place_of(self, key: str | None) -> int:
        for place, row in enumerate(self._rows):
            if row.key == key:
                return place
        place = min(self._at, max(0, len(self._rows) - 1))
        for near in (*range(place, len(self._rows)), *range(place, -1, -1)):
            if near < len(self._rows) and self._rows[near].selectable:
                return int(near)
        return 0

    def _go_near(self, place: int, by: int) -> None:
        place = max(0, min(len(self._rows) - 1, place))
        while 0 <= place < len(self._rows) and not self._rows[place].selectable:
            place += by
        if 0 <= place < len(self._rows):
            self._go(place)

    def _go(self, place: int) -> None:
        before, self._at = self._at, place
        self._refresh_row(before)
        self._refresh_row(place)
        self._keep_in_sight()
        if before != place:
            self.post_message(self.Moved(self, self.cursor))

    def _keep_in_sight(self) -> None:
        height, top = max(1, self.size.height - 1), self.scroll_offset.y
        if self._at < top or self._at >= top + height:
            goal = self._at if self._at < top else self._at - height + 1
            self.scroll_to(y=goal, animate=False)

    def _refresh_changed(self, old: tuple[Row, ...], new: tuple[Row, ...]) -> None:
        top, height = self.scroll_offset.y, self.size.height
        for place in range(top, min(len(new), top + height)):
            if old[place] != new[place]:
                self._refresh_row(place)

    def _refresh_row(self, place: int) -> None:
        y = place + 1 - self.scroll_offset.y
        if 1 <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))
