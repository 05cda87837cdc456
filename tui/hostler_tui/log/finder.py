"""Finding lines in a log: a thread reads, messages bring what it found."""

from __future__ import annotations

from array import array
from typing import Any

from textual import on, work
from textual.message import Message
from textual.worker import get_current_worker

from hostler_tui.lines import Line
from hostler_tui.log.head import search_line
from hostler_tui.log.hits import BLOCK, Hits, search
from hostler_tui.log.picture import LogPicture
from hostler_tui.log.place import top_for_end, up
from hostler_tui.log.search import needle_of
from hostler_tui.log.spool import Spool


class LogFinder(LogPicture):
    """A log in which lines are looked for, also while it grows."""

    class Hit(Message):
        """A search knows the last matching line."""

        def __init__(self, hits: Hits, line: int) -> None:
            super().__init__()
            self.hits, self.line = hits, line

    class Found(Message):
        """A search is through."""

        def __init__(self, hits: Hits, lines: array[int], upto: int) -> None:
            super().__init__()
            self.hits, self.lines, self.upto = hits, lines, upto

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._is_searching = False
        self._goes_to_match = False
        """The search was just asked for: the cursor goes to what it finds."""

    def _foot(self) -> Line:
        if self.hits is None or self.spool is None:
            return ()
        return search_line(self.hits, self.cursor_line, self._is_searching, self.only_matches)

    def _after_growth(self, *, moved: bool) -> None:
        if moved and self.hits is not None:
            self.hits = Hits(self.hits.needle)  # what was found has other numbers now
        self._search_new()

    def look_for(self, text: str) -> None:
        """Search; "" forgets the search."""
        number = self.cursor_line
        self.hits = Hits(needle_of(text)) if text else None
        self._goes_to_match = True
        self.only_matches = self.only_matches and bool(text)
        if not self.only_matches:
            self._at = number
        self._strips.clear()
        self._search_new()
        self._changed()

    def _search_new(self) -> None:
        """Look through the lines that came since; few of them at once, many in a thread."""
        hits, spool = self.hits, self._spool
        if hits is None or spool is None or self._is_searching:
            return
        is_whole = self.fetch is not None and self.fetch.state == "ended"
        first, last = hits.upto, len(spool.shown) if is_whole else spool.shown.whole
        if first >= last:
            return
        if hits.upto and spool.shown.starts[last - 1] - spool.shown.starts[first] < BLOCK:
            hits.add(search(spool, hits.needle, first, last), last)
            return
        self._is_searching = True
        self._search_thread(spool, hits, first, last)

    @work(thread=True, exclusive=True, group="log search", exit_on_error=True)
    def _search_thread(self, spool: Spool, hits: Hits, first: int, last: int) -> None:
        worker = get_current_worker()
        lines = search(
            spool, hits.needle, first, last,
            first_hit=lambda line: self.post_message(self.Hit(hits, line)),
            is_cancelled=lambda: worker.is_cancelled or self.hits is not hits,
        )  # fmt: skip
        self.post_message(self.Found(hits, lines, last))

    @on(Hit)
    def take_hit(self, message: Hit) -> None:
        """From the end of the log, go to the last match at once."""
        if message.hits is self.hits and self.is_following and self._may_go():
            self._show_line(message.line)

    @on(Found)
    def take_found(self, message: Found) -> None:
        """All matches are known; from elsewhere, the cursor goes to the next one."""
        self._is_searching = False
        if message.hits is self.hits:
            self.hits.add(message.lines, message.upto)
            if self.hits.lines and not self.is_following and self._may_go():
                self._show_line(self.hits.next(self.cursor_line - 1, 1) or 0)
        self._search_new()
        self._changed()

    def _may_go(self) -> bool:
        may, self._goes_to_match = self._goes_to_match and not self.only_matches, False
        return may

    def _show_line(self, number: int) -> None:
        self._go(self._place(number))
        if self._at not in {at for at, _ in self._rows()[1:-1]}:
            self._top = up((self._at, 0), self._height // 2, self._rows_of)
            last = top_for_end(self.count, self._height, self._rows_of)
            self._top = min(self._top, last)
            self._changed()

    def action_next_match(self, by: int) -> None:
        """To the next match, or the one before; round the end."""
        found = self.hits.next(self.cursor_line, by) if self.hits else None
        if found is None:
            self.app.tell("nothing is looked for; / searches" if not self.hits else "no match")
        else:
            self._show_line(found)

    def show_only_matches(self, only: bool) -> None:
        """Hide the lines that do not match, or show all again."""
        number = self.cursor_line
        self.only_matches = only and self.hits is not None
        self._range_from = None
        self._at = min(self._place(number), max(0, self.count - 1))
        self._top = up((self._at, 0), self._height // 2, self._rows_of) if self.count else (0, 0)
        self._changed()
