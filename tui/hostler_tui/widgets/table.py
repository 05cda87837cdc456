"""The table widget: keys and clicks, cursor, marked rows, scrolling; table_rows.py has columns
and widths. Textual's DataTable costs five times as much for 400 rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Unpack

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from hostler_tui.lines import cut, pad, strip_of
from hostler_tui.palette import Palette
from hostler_tui.table_rows import (
    Cursor,
    Head,
    Row,
    settled,
    spans_of,
    still_marked,
    visible_heads,
    widths_of,
)
from hostler_tui.widgets.line_view import Known, LineView
from hostler_tui.widgets.options import WidgetOptions

STRIPS_MORE = 50
"""Finished lines kept beyond two screenfuls."""


class Table(LineView, can_focus=True):
    """Rows with a cursor that stays on its key, whatever comes and goes around it.

    `kin` names the object that a row's key stands for; all rows of one are as good as each other.
    `rests`: beside other tables, its cursor stands out only while it has the keys.
    """

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
        """Enter, or a click on the row at the cursor."""

    class HeadClicked(Message):
        """A click on a column's title."""

        def __init__(self, table: Table, title: str) -> None:
            super().__init__()
            self.table, self.title = table, title

        @property
        def control(self) -> Table:
            """The table, for selectors of handlers."""
            return self.table

    def __init__(
        self,
        heads: Sequence[Head],
        *,
        markable: bool = False,
        kin: Callable[[str], str] = str,
        rests: bool = False,
        **options: Unpack[WidgetOptions],
    ) -> None:
        super().__init__(**options)
        self._rests = rests
        self._heads = tuple(heads)
        self._rows: tuple[Row, ...] = ()
        self._cursor = Cursor()
        self._kin = kin
        self._view: object = None
        self._markable = markable
        self._marks: frozenset[str] = frozenset()
        self._are_marks_gone = False
        """The last marked rows disappeared, and the user has done nothing since."""
        self._strips: dict[str, Known] = {}
        """Of each row the last one drawn, and what it was drawn for: rows of a live lab change all
        the time, and what is past is not drawn again."""
        self._others: dict[bool, Known] = {}
        """The same for the heads, and for a row past the end."""
        self._look: Palette | None = None

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows."""
        return self._rows

    @property
    def cursor(self) -> str | None:
        """The key of the row at the cursor; None if that row disappeared."""
        at = self._cursor.at
        is_there = self._cursor.gone is None and at < len(self._rows)
        return self._rows[at].key if is_there else None

    @property
    def targets(self) -> frozenset[str]:
        """The objects of a key: the marked rows, else the row at the cursor."""
        if self._marks or self._are_marks_gone or self.cursor is None:
            return self._marks
        return frozenset({self.cursor})

    @property
    def nothing(self) -> str:
        """Why a key has no object, and what to do."""
        if self._are_marks_gone:
            return "the marked rows are no longer in this list; an arrow selects another"
        if self._cursor.gone is not None:
            name = self._kin(self._cursor.gone)
            return f"{name} is not in this list; an arrow selects another row"
        return "nothing is selected"

    @property
    def marks(self) -> frozenset[str]:
        """The keys of the marked rows."""
        return self._marks

    def show(
        self, rows: Sequence[Row], heads: Sequence[Head] | None = None, *, view: object = None
    ) -> None:
        """Show these rows: the cursor stays on its key. `view` is what the person chose to see
        (filter, order): where that changed and the key is not shown, the cursor goes nearby."""
        new, key, old = tuple(rows), self.cursor, self._rows
        at, self._view, may_slide = self._cursor, view, view != self._view
        whole = self._look is not self.app.palette_of_look
        if heads is not None and tuple(heads) != self._heads:
            self._heads, whole = tuple(heads), True
        self._rows, self._look = new, self.app.palette_of_look
        if self._marks:
            self._marks = still_marked(self._marks, new, self._kin)
            self._are_marks_gone = not self._marks and not may_slide
        self._cursor = settled(at, at.gone or key, new, self._kin, may_slide=may_slide)
        self._set_count(len(new))
        if whole:
            self.refresh()
        else:
            self._refresh_changed(old, new)
        if self.cursor != key:
            self._keep_in_sight()
            self.refresh()
            self.post_message(self.Moved(self, self.cursor))

    def _set_count(self, rows: int) -> None:
        """How far it goes. Only where the scrollbar comes or goes has the screen to be laid out
        anew, which draws all of it."""
        size, height = Size(0, rows + 1), self.size.height
        if size == self.virtual_size:
            return
        if not self.show_vertical_scrollbar or size.height <= height:
            self.virtual_size = size
            return
        self.set_reactive(ScrollView.virtual_size, size)
        self.vertical_scrollbar.window_virtual_size = size.height
        self.scroll_to(y=min(self.scroll_offset.y, self.max_scroll_y), animate=False)

    def put_cursor(self, key: str) -> None:
        """Move the cursor to a row, if it exists."""
        for place, row in enumerate(self._rows):
            if row.key == key and row.selectable:
                self._go(place)

    def expect(self, key: str) -> None:
        """Put the cursor on a row, or on its kin, as soon as it exists; on none until then."""
        self._cursor = settled(
            Cursor(self._cursor.at, key), key, self._rows, self._kin, may_slide=False
        )
        self._keep_in_sight()
        self.refresh()
        self.post_message(self.Moved(self, self.cursor))

    def mark_all(self) -> None:
        """Mark every row that can be selected."""
        if self._markable:
            self._are_marks_gone = False
            self._marks = frozenset(row.key for row in self._rows if row.selectable)
            self.refresh()

    def mark(self, keys: Iterable[str]) -> None:
        """Mark these rows and no others."""
        self._marks = frozenset(keys) & {row.key for row in self._rows}
        self.refresh()

    def clear_marks(self) -> None:
        """Unmark everything."""
        self._marks, self._are_marks_gone = frozenset(), False
        self.refresh()

    def line_at(self, y: int) -> Strip:
        """The heads at the top, the rows below."""
        place = y - 1 + self.top
        if y == 0 or place >= len(self._rows):
            return self._other_strip(y == 0)
        return self._row_strip(place)

    def action_step(self, by: int) -> None:
        """To the next row that can be selected; if none is selected, to the cursor's old place."""
        place = self._cursor.at + (by if self._cursor.gone is None else 0)
        while 0 <= place < len(self._rows) and not self._rows[place].selectable:
            place += by
        if 0 <= place < len(self._rows):
            self._go(place)

    def action_page(self, by: int) -> None:
        """One screenful further."""
        step = max(1, self.size.height - 2)
        self._go_near(self._cursor.at + by * step, by)

    def action_edge(self, by: int) -> None:
        """To the first or the last row."""
        self._go_near(len(self._rows) - 1 if by > 0 else 0, -by)

    def action_choose(self) -> None:
        """Open the row at the cursor."""
        if self.cursor is not None:
            self.post_message(self.Chosen(self, self.cursor))
        elif self._cursor.gone is not None:
            self.app.tell(self.nothing, "warning")

    def action_mark(self) -> None:
        """Mark or unmark the row, and move to the next."""
        if not self._markable or self.cursor is None:
            return
        self._marks ^= {self.cursor}
        self._are_marks_gone = False
        self._refresh_row(self._cursor.at)
        self.action_step(1)

    def on_click(self, event: events.Click) -> None:
        """Select the row; open it if it is already selected."""
        place = event.y - 1 + self.scroll_offset.y
        if event.y == 0:
            self._tell_head(event.x)
        if event.y < 1 or place >= len(self._rows) or not self._rows[place].selectable:
            return
        if self._rows[place].key == self.cursor:
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
        """The cursor stays visible."""
        self._keep_in_sight()

    def _other_strip(self, is_head: bool) -> Strip:
        """The heads, or an empty row."""
        look, width = self.app.palette_of_look, self.text_width
        drawn_for = (self._heads if is_head else (), width, self.line_width, look)
        known = self._others.get(is_head)
        if known is not None and known[0] == drawn_for:
            return known[1]
        strip = self._head_strip(width) if is_head else strip_of((), look, width)
        strip = self.finished(strip)
        self._others[is_head] = (drawn_for, strip)
        return strip

    def _head_strip(self, width: int) -> Strip:
        kept, widths = self._layout(width)
        parts = [
            pad(cut(self._heads[i].title, w), w, right=self._heads[i].right)
            for i, w in zip(kept, widths, strict=True)
        ]
        gutter = "  " if self._markable else " "
        return strip_of([(gutter + " ".join(parts), "dim")], self.app.palette_of_look, width)

    def _row_strip(self, place: int) -> Strip:
        row = self._rows[place]
        here = place == self._cursor.at and self._cursor.gone is None
        marked = row.key in self._marks
        width, wide, look = self.text_width, self.line_width, self.app.palette_of_look
        lit = self.has_focus or not self._rests
        drawn_for = (row.cells, row.role, row.whole, here, marked, width, wide, look, lit)
        known = self._strips.get(row.key)
        if known is not None and known[0] == drawn_for:
            return known[1]
        if len(self._strips) > 2 * self.size.height + STRIPS_MORE:
            self._forget_strips()
        strip = self.finished(self._make_strip(row, here, marked, width))
        self._strips[row.key] = (drawn_for, strip)
        return strip

    def _forget_strips(self) -> None:
        """Forget rows out of sight: a strip takes as much memory as a hundred rows."""
        top = self.scroll_offset.y
        seen = {row.key for row in self._rows[top : top + self.size.height]}
        self._strips = {key: known for key, known in self._strips.items() if key in seen}

    def _make_strip(self, row: Row, here: bool, marked: bool, width: int) -> Strip:
        gutter = (">" if here else " ") + (("*" if marked else " ") if self._markable else "")
        spans: list[tuple[str, str]] = [(gutter, "accent" if here else "")]
        if row.whole:
            spans += spans_of(row.cells[0], max(1, width - len(gutter)), False)
        else:
            spans += self._cell_spans(row, width)
        if row.role:
            spans = [(text, role or row.role) for text, role in spans]
        lit = here and (self.has_focus or not self._rests)
        return strip_of(spans, self.app.palette_of_look, width, "cursor" if lit else "")

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

    def _go_near(self, place: int, by: int) -> None:
        place = max(0, min(len(self._rows) - 1, place))
        while 0 <= place < len(self._rows) and not self._rows[place].selectable:
            place += by
        if 0 <= place < len(self._rows):
            self._go(place)

    def _go(self, place: int) -> None:
        before, self._cursor = self._cursor, Cursor(place)
        self._are_marks_gone = False
        self._refresh_row(before.at)
        self._refresh_row(place)
        self._keep_in_sight()
        if before != self._cursor:
            self.post_message(self.Moved(self, self.cursor))

    def _keep_in_sight(self) -> None:
        height, top = max(1, self.size.height - 1), self.scroll_offset.y
        at = self._cursor.at
        if at < top or at >= top + height:
            goal = at if at < top else at - height + 1
            self.scroll_to(y=goal, animate=False)

    def _refresh_changed(self, old: tuple[Row, ...], new: tuple[Row, ...]) -> None:
        top, height = self.scroll_offset.y, self.size.height
        for place in range(top, min(max(len(old), len(new)), top + height)):
            both = place < min(len(old), len(new))
            if not both or (old[place] is not new[place] and old[place] != new[place]):
                self._refresh_row(place)

    def _refresh_row(self, place: int) -> None:
        y = place + 1 - self.scroll_offset.y
        if 1 <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))
