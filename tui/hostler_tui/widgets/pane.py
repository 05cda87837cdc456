"""A scrollable pane of lines (headers, details, help, graphs): its keys, and which lines are
redrawn. One that is longer than its place takes the focus and scrolls."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import ClassVar, Unpack

from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from hostler_tui.lines import Line, strip_of, text_of
from hostler_tui.palette import Palette
from hostler_tui.widgets.line_view import Known, LineView
from hostler_tui.widgets.options import WidgetOptions

SPARE = 20
"""Finished lines kept beyond the visible ones."""


class Pane(LineView, can_focus=False):
    """Lines of styled text; redraws only lines that changed."""

    DEFAULT_CSS = """
    Pane { height: auto; overflow: hidden; scrollbar-size: 0 0; background: transparent; }
    """

    def __init__(self, lines: Iterable[Line] = (), **options: Unpack[WidgetOptions]) -> None:
        super().__init__(**options)
        self._lines: tuple[Line, ...] = tuple(lines)
        self._look: Palette | None = None
        self._strips: dict[int, Known] = {}
        """The last drawn line of each row."""

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines."""
        return self._lines

    @property
    def said(self) -> str:
        """The lines as plain text."""
        return "\n".join(text_of(shown) for shown in self._lines)

    def show(self, lines: Iterable[Line]) -> None:
        """Replace the lines."""
        new = tuple(lines)
        if new == self._lines and self._look is self.app.palette_of_look:
            return
        if self._look is not self.app.palette_of_look:
            self.refresh()
        old, self._lines, self._look = self._lines, new, self.app.palette_of_look
        if len(new) != len(old) and self._needs_layout:
            self.virtual_size = Size(0, len(new))
            self.refresh(layout=self.styles.height is not None and self.styles.height.is_auto)
            return
        self.set_reactive(ScrollView.virtual_size, Size(0, len(new)))
        top = self.scroll_offset.y
        for number, (before, after) in enumerate(zip_longest(old, new)):
            if before != after and 0 <= number - top < self.size.height:
                self.refresh(Region(0, number - top, self.size.width, 1))

    @property
    def _needs_layout(self) -> bool:
        """Whether more or fewer lines change the layout, or have to be scrolled to."""
        height = self.styles.height
        return height is None or height.is_auto or self.styles.overflow_y != "hidden"

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """One row per line."""
        return len(self._lines)

    def line_at(self, y: int) -> Strip:
        """The line at a row of the widget."""
        number, palette = y + self.top, self.app.palette_of_look
        spans = self._lines[number] if number < len(self._lines) else ()
        drawn_for = (spans, self.text_width, self.line_width, palette)
        known = self._strips.get(y)
        if known is not None and known[0] == drawn_for:
            return known[1]
        if len(self._strips) > self.size.height + SPARE:
            self._strips.clear()
        strip = self.finished(strip_of(spans, palette, self.text_width))
        self._strips[y] = (drawn_for, strip)
        return strip


class ScrollPane(Pane, can_focus=True):
    """Lines that scroll with the usual keys."""

    DEFAULT_CSS = """
    ScrollPane { height: 1fr; overflow-y: auto; scrollbar-size-vertical: 1; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "down", show=False),
        Binding("k", "scroll_up", "up", show=False),
    ]
