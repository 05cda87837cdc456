"""The log with its keys: search, filter, follow, wrap, select, copy, save; log/picture.py draws
it. Only what is seen is read."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import ClassVar, Unpack

from textual import events, on, work
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.worker import get_current_worker

from hostler_tui.line_edit import LineEdit
from hostler_tui.lines import Line
from hostler_tui.log.head import search_line
from hostler_tui.log.hits import BLOCK, Hits, search
from hostler_tui.log.picture import LogPicture
from hostler_tui.log.place import top_for_end, up
from hostler_tui.log.search import needle_of
from hostler_tui.log.spool import Spool, copy_of_lines, save_log
from hostler_tui.widgets.options import WidgetOptions

ASKED = {
    "search": ("/", "a text or regular expression; case matters only if it has capitals"),
    "filter": ("&", "show only the lines that match"),
    "save": ("save as: ", "the whole log, as it was written"),
}
"""The prompts: the text before each input, and its meaning."""


class LogFinder(LogPicture):
    """A log with a search, also while it grows."""

    class Hit(Message):
        """A search has found the last matching line."""

        def __init__(self, hits: Hits, line: int) -> None:
            super().__init__()
            self.hits, self.line = hits, line

    class Found(Message):
        """A search is complete."""

        def __init__(self, hits: Hits, lines: array[int], upto: int) -> None:
            super().__init__()
            self.hits, self.lines, self.upto = hits, lines, upto

    def __init__(self, **options: Unpack[WidgetOptions]) -> None:
        super().__init__(**options)
        self._is_searching = False
        self._goes_to_match = False
        """The search is new: the cursor goes to its match."""

    def _foot(self) -> Line:
        if self.hits is None or self.spool is None:
            return ()
        return search_line(self.hits, self.cursor_line, self._is_searching, self.only_matches)

    def _after_growth(self, *, moved: bool) -> None:
        if moved and self.hits is not None:
            self.hits = Hits(self.hits.needle)  # what was found has other numbers now
        self._search_new()

    def look_for(self, text: str) -> None:
        """Search; "" clears the search."""
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
        """Search new lines; a few of them at once, many in a thread."""
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
        """Go to the next match, or the one before; wraps around."""
        found = self.hits.next(self.cursor_line, by) if self.hits else None
        if found is None:
            self.app.tell("no search yet; / searches" if not self.hits else "no match")
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


class LogView(LogFinder):
    """The log's keys; `open` shows a log."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "step(1)", "down", show=False),
        Binding("k,up", "step(-1)", "up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("left", "sideways(-1)", "left", show=False),
        Binding("right", "sideways(1)", "right", show=False),
        Binding("home", "first", "start", show=False),
        Binding("end", "last", "end", show=False),
        Binding("f", "follow", "follow", show=False),
        Binding("p", "pause", "pause", show=False),
        Binding("w", "wrap", "wrap", show=False),
        Binding("n", "next_match(1)", "next match", show=False),
        Binding("N", "next_match(-1)", "previous match", show=False),
        Binding("V", "range", "select lines", show=False),
        Binding("y", "copy", "copy lines", show=False),
    ]

    def __init__(self, **options: Unpack[WidgetOptions]) -> None:
        super().__init__(**options)
        self.typing: LineEdit | None = None
        """The text that is being typed, in the lowest row."""
        self._asked = "search"
        self._past: dict[str, str] = {}
        """The last typed text of each kind."""

    def _foot(self) -> Line:
        if self.typing is None:
            return super()._foot()
        before, means = ASKED[self._asked]
        text, at = self.typing.text, self.typing.at
        return (
            (before, "key"), (text[:at], ""), (text[at : at + 1] or " ", "bar"),
            (text[at + 1 :], ""), (f"   {means}; ent confirms, esc cancels", "dim"),
        )  # fmt: skip

    def _ask(self, what: str, text: str = "") -> None:
        self._asked, self.typing = what, LineEdit.of(text)
        self._changed()

    def action_search(self) -> None:
        """Type a search."""
        self._ask("search")

    def action_only_matches(self) -> None:
        """Show only the lines that match, or all again; type a search if there is none."""
        if self.hits is None:
            self._ask("filter")
        else:
            self.show_only_matches(not self.only_matches)

    def action_save(self) -> None:
        """Type where to save the log."""
        if self.log_of is not None:
            run_id, stage, _ = self.log_of
            self._ask("save", f"{Path.cwd()}/{run_id}.{stage}.log")

    def on_key(self, event: events.Key) -> None:
        """While something is typed, keys are letters.

        What begins the typing is no binding: those act after keys that came close behind.
        """
        if self.typing is None:
            if self._begin(event.key):
                _take(event)
            return
        _take(event)
        if event.key in ("escape", "ctrl+c"):
            self.typing = None
        elif event.key == "enter":
            typed, self.typing = self.typing.text, None
            self._do(typed)
        elif event.key == "up":
            self.typing = LineEdit.of(self._past.get(self._asked, ""))
        else:
            self.typing = self.typing.key(event.key, event.character) or self.typing
        self._changed()

    def _begin(self, key: str) -> bool:
        if key == "escape":
            return self._undo()
        asks = {"slash": self.action_search, "ampersand": self.action_only_matches,
                "S": self.action_save}  # fmt: skip
        if key in asks:
            asks[key]()
        return key in asks

    def on_paste(self, event: events.Paste) -> None:
        """Insert into the typed text."""
        if self.typing is not None:
            event.stop()
            self.typing = self.typing.insert(event.text)
            self._changed()

    def _do(self, typed: str) -> None:
        self._past[self._asked] = typed
        if not typed:
            return
        if self._asked == "save":
            self._save(typed)
            return
        self.look_for(typed)
        if self._asked == "filter":
            self.show_only_matches(True)

    def _undo(self) -> bool:
        """Undo one thing: the range, the filter, the search. Returns whether there was one."""
        if self._range_from is not None:
            self._range_from = None
        elif self.only_matches:
            self.show_only_matches(False)
        elif self.hits is not None:
            self.look_for("")
        else:
            return False
        self._changed()
        return True

    def action_range(self) -> None:
        """Select lines from here on; press again to stop."""
        self._range_from = self._at if self._range_from is None else None
        if self.count:
            self._go(self._at)

    def action_copy(self) -> None:
        """Copy the line, or the selected ones, as text."""
        spool = self.spool
        if spool is None or not self.count:
            self.app.tell("there is no line to copy", "warning")
            return
        other = self._at if self._range_from is None else self._range_from
        first, last = sorted((self._at, other))
        text = copy_of_lines(spool, [self._number(place) for place in range(first, last + 1)])
        if text is None:
            self.app.tell("too much to copy; S saves the whole log to a file", "warning")
            return
        lines = "1 line" if first == last else f"{last - first + 1} lines"
        self.app.copy_text(text, lines)
        self._range_from = None
        self._changed()

    def _save(self, path: str) -> None:
        if self.spool is not None and self.spool.tail is not None:
            self.app.tell(
                "the start of the log is still being fetched; save again in a few seconds"
            )
        elif self.spool is not None:
            self._save_thread(self.spool, Path(path).expanduser())

    @work(thread=True, group="log save", exit_on_error=True)
    def _save_thread(self, spool: Spool, path: Path) -> None:
        said, severity = save_log(spool, path)
        self.app.call_from_thread(self.app.tell, said, severity)


def _take(event: events.Key) -> None:
    event.stop()
    event.prevent_default()
