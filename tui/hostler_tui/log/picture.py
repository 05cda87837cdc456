"""The visible part of a log: scrolling, wrapping, steps of the mouse wheel and sideways."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Unpack

from textual import events, on
from textual.geometry import Region
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.worker import Worker

from hostler_tui.lines import Line, strip_of
from hostler_tui.log.head import head_line
from hostler_tui.log.hits import Hits
from hostler_tui.log.place import Place, down, on_screen, top_for_end, up
from hostler_tui.log.spool import LogFetch, Spool
from hostler_tui.log.text import MOST_BYTES, rows_of_line
from hostler_tui.widgets.options import WidgetOptions

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp

STRIPS_KEPT = 1000
SIDEWAYS = 16
"""Cells that one press of left or right moves."""


class LogPicture(ScrollView, can_focus=True):
    """One attempt's log. It scrolls by itself: a million lines need no virtual size.

    Places count the lines on show, which a filter makes fewer; numbers count all lines.
    """

    app: LabApp

    DEFAULT_CSS = """
    LogPicture { height: 1fr; overflow: hidden; background: transparent; scrollbar-size: 0 0; }
    """

    class Grew(Message):
        """Bytes arrived, or the state of the fetch changed; `shift` lines arrived before all
        others."""

        def __init__(self, spool: Spool, shift: int) -> None:
            super().__init__()
            self.spool, self.shift = spool, shift

    def __init__(self, **options: Unpack[WidgetOptions]) -> None:
        super().__init__(**options)
        self.log_of: tuple[str, str, int | None] | None = None
        """Run, stage and number of the attempt."""
        self._spool: Spool | None = None
        self._fetch: LogFetch | None = None
        self._fetching: Worker[None] | None = None
        self._is_told = False
        self.is_following, self.is_paused, self.is_wrapped = True, False, False
        self.hits: Hits | None = None
        self.only_matches = self._wants_first = False
        self._top: Place = (0, 0)
        self._at = 0
        self._range_from: int | None = None
        self._left = 0
        self._count_seen = 0
        self._strips: dict[tuple[object, ...], tuple[Strip, ...]] = {}
        self._picture: list[Place] | None = None

    def open(self, run_id: str, stage: str, attempt: int | None = None) -> None:
        """Show a log, from its end on, in place of what was shown."""
        if self.log_of == (run_id, stage, attempt):
            return
        self.close()
        self.log_of = (run_id, stage, attempt)
        spool = self._spool = Spool()
        self._fetch = LogFetch(self.app.client, self.log_of, spool, self._teller(spool))
        self._fetching = self.run_worker(
            self._fetch.run(), group="log", exclusive=True, exit_on_error=True
        )
        self.refresh()

    def close(self) -> None:
        """Show nothing, and release the log's resources."""
        if self._fetching is not None:
            self._fetching.cancel()
        if self._spool is not None:
            self._spool.close()
        self.log_of = self._spool = self._fetch = self._fetching = self.hits = None
        self.is_following, self.is_paused, self.only_matches = True, False, False
        self._is_told = self._wants_first = False
        self._top, self._at, self._left, self._range_from, self._count_seen = (0, 0), 0, 0, None, 0
        self._strips.clear()
        self._changed()

    def on_unmount(self) -> None:
        """Release everything."""
        self.close()

    @property
    def count(self) -> int:
        """The number of visible lines."""
        if self._spool is None:
            return 0
        if self.only_matches and self.hits is not None:
            return len(self.hits.lines)
        return len(self._spool.shown)

    @property
    def spool(self) -> Spool | None:
        """The bytes, while a log is open."""
        return self._spool

    @property
    def fetch(self) -> LogFetch | None:
        """The object that fetches them."""
        return self._fetch

    @property
    def cursor_line(self) -> int:
        """The number of the line at the cursor, from 0."""
        return self._number(min(self._at, max(0, self.count - 1)))

    def draw(self) -> None:
        """Catch up with bytes that arrived while the picture was frozen."""
        if self._count_seen != self.count:
            self._grow()

    def _number(self, place: int) -> int:
        if self.only_matches and self.hits is not None and place < len(self.hits.lines):
            return self.hits.lines[place]
        return place

    def _place(self, number: int) -> int:
        return self.hits.place_of(number) if self.only_matches and self.hits else number

    def _teller(self, spool: Spool) -> Callable[[int], object]:
        def tell(shift: int) -> None:
            if shift or not self._is_told:  # one message at a time is enough
                self._is_told = True
                self.post_message(self.Grew(spool, shift))

        return tell

    @on(Grew)
    def take_growth(self, message: Grew) -> None:
        """More bytes have arrived; once the rest has, all lines have moved down."""
        self._is_told = False
        if message.spool is not self._spool:
            return
        if message.shift:
            self._move_down(message.shift)
        if self._wants_first and message.spool.tail is None:
            self.action_first()
        self._after_growth(moved=bool(message.shift))
        if not self.is_paused and not self.app.is_paused:
            self._grow()

    def _move_down(self, lines: int) -> None:
        """This many lines arrived before the visible ones, which stay in place."""
        self._strips.clear()
        if not self.only_matches:
            self._top = (self._top[0] + lines, self._top[1])
            self._at += lines
            if self._range_from is not None:
                self._range_from += lines
        self._picture = None
        self.refresh()

    def _after_growth(self, *, moved: bool) -> None:
        """More bytes have arrived; whether lines have new numbers."""

    def _grow(self) -> None:
        grew, self._count_seen = self._count_seen != self.count, self.count
        if self.is_following or (grew and len(self._rows()) < self._height):
            self._changed()
        else:
            width, height = self.size
            self.refresh(Region(0, 0, width, 1), Region(0, height - 1, width, 1))

    def _changed(self) -> None:
        if self.is_following:
            self._at = max(0, self.count - 1)
            self._top = top_for_end(self.count, self._height, self._rows_of)
        self._picture = None
        self.refresh()

    @property
    def _height(self) -> int:
        return max(1, self.size.height - 1 - bool(self._foot()))

    def on_resize(self) -> None:
        """The end stays visible."""
        self._changed()

    def _rows(self) -> list[Place]:
        if self._picture is None:
            self._picture = on_screen(self._top, self._height, self.count, self._rows_of)
        return self._picture

    def _rows_of(self, place: int) -> int:
        return len(self._strips_of(place)) if self.is_wrapped else 1

    def _strips_of(self, place: int) -> tuple[Strip, ...]:
        assert self._spool is not None
        begin, end = self._spool.shown.span(self._number(place))
        palette, width = self.app.palette_of_look, max(1, self.size.width - 1)
        left = None if self.is_wrapped else self._left
        needle = self.hits.needle if self.hits else None
        key = (begin, end, palette.look, width, left, needle)
        strips = self._strips.get(key)
        if strips is None:
            if len(self._strips) >= STRIPS_KEPT:
                self._strips.clear()
            data = self._line_bytes(begin, end)
            shown = needle.shown if needle else None
            strips = self._strips[key] = rows_of_line(data, palette, width, left, shown)
        return strips

    def _line_bytes(self, begin: int, end: int) -> bytes:
        """What is needed to show a line: of one that rewrote itself for long, its end."""
        assert self._spool is not None
        data = self._spool.read(begin, min(end, begin + MOST_BYTES))
        if end - begin > MOST_BYTES and b"\r" in data:
            data = self._spool.read(end - MOST_BYTES, end)
        return data

    def render_line(self, y: int) -> Strip:
        """The head, rows of the log, and the search or typed text."""
        palette, width = self.app.palette_of_look, self.size.width
        if y == 0:
            return strip_of(self._head(), palette, width, "bar" if self.has_focus else "")
        foot = self._foot()
        if foot and y == self.size.height - 1:
            return strip_of(foot, palette, width)
        rows = self._rows()
        if y - 1 >= len(rows):
            empty = self._empty() if y == 1 and not rows else ()
            return strip_of(empty, palette, width)
        return self._row_strip(rows[y - 1])

    def _row_strip(self, row: Place) -> Strip:
        palette = self.app.palette_of_look
        place = row[0]
        here, inside = place == self._at and self.has_focus, self._is_in_range(place)
        gutter = (">" if here else "|" if inside else " ", "accent")
        strips = self._strips_of(place)
        strip = strips[min(row[1], len(strips) - 1)]
        strip = Strip.join([strip_of((gutter,), palette, 1), strip])
        return strip.apply_style(palette("cursor")) if here or inside else strip

    def _is_in_range(self, place: int) -> bool:
        if self._range_from is None:
            return False
        return min(self._range_from, self._at) <= place <= max(self._range_from, self._at)

    def _head(self) -> Line:
        return head_line(self, self.size.width)

    def _foot(self) -> Line:
        """The lowest row, if it has text."""
        return ()

    def _empty(self) -> Line:
        if self._fetch is None:
            return ((" no log is open", "dim"),)
        if self._fetch.note:
            return ((f" {self._fetch.note}", "warn"),)
        if self.only_matches:
            return ((" no line matches; & shows all lines, esc clears the search", "dim"),)
        ended = self._fetch.state == "ended"
        return ((" it wrote nothing" if ended else " nothing was written yet", "dim"),)

    def _go(self, place: int) -> None:
        self.is_following = False
        self._at = max(0, min(self.count - 1, place))
        seen = [at for at, _ in self._rows()]
        if (seen and self._at < seen[0]) or not seen:
            self._top = (self._at, 0)
        elif self._at > seen[-1]:
            self._top = top_for_end(self._at + 1, self._height, self._rows_of)
        self._changed()

    def action_step(self, by: int) -> None:
        """To the next line; row by row through a long wrapped line."""
        rows = self._rows()
        edge = rows[-1 if by > 0 else 0] if rows else (0, 0)
        more = edge[1] < self._rows_of(edge[0]) - 1 if rows and by > 0 else edge[1] > 0
        if rows and edge[0] == self._at and more:
            self._scroll(by)
        elif self.count and not (self.is_following and by > 0):
            self._go(self._at + by)

    def action_page(self, by: int) -> None:
        """One screenful further."""
        self._scroll(by * max(1, self._height - 1))

    def _scroll(self, by: int) -> None:
        if not self.count or (by > 0 and self.is_following):
            return
        self.is_following = False
        last = top_for_end(self.count, self._height, self._rows_of)
        top = self._top
        moved = down(top, by, self.count, self._rows_of) if by > 0 else up(top, -by, self._rows_of)
        self._top, self._picture = min(moved, last), None
        seen = [at for at, _ in self._rows()]
        at_edge = (moved >= last and by > 0) or self._top == top
        goal = (self.count - 1 if by > 0 else 0) if at_edge else self._at
        self._at = max(seen[0], min(seen[-1], goal))
        self._changed()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll three rows back."""
        event.stop()
        self._scroll(-3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll three rows on."""
        event.stop()
        self._scroll(3)

    def on_click(self, event: events.Click) -> None:
        """The cursor goes to the line."""
        rows = self._rows()
        if 1 <= event.y <= len(rows):
            self._go(rows[event.y - 1][0])

    def action_sideways(self, by: int) -> None:
        """Scroll left or right, if lines are not wrapped."""
        self._left = max(0, self._left + by * SIDEWAYS)
        self._changed()

    def action_first(self) -> None:
        """Go to the start of the log, as soon as it is loaded."""
        self._wants_first = self._spool is not None and self._spool.tail is not None
        self._go(0)
        if self._wants_first:
            self.app.tell("the start of the log is still being fetched")

    def action_last(self) -> None:
        """Go to the end, and stay there."""
        self.is_following = True
        self._wants_first = False
        self._changed()

    def action_follow(self) -> None:
        """Stay at the end; again to stop here."""
        if self.is_following and self.count:
            self._go(self._at)
        else:
            self.action_last()

    def action_pause(self) -> None:
        """Freeze the display; press again to resume."""
        self.is_paused = not self.is_paused
        self._changed() if not self.is_paused else self.refresh()

    def action_wrap(self) -> None:
        """Wrap long lines, or cut them at the edge."""
        self.is_wrapped = not self.is_wrapped
        self._left, self._top = 0, (self._top[0], 0)
        self._changed()
        if not self.is_following and self._at not in {at for at, _ in self._rows()}:
            self._go(self._at)
