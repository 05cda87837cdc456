"""A pane of lines: headers, details, help, graphs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from hostler_tui.lines import Line, strip_of, text_of
from hostler_tui.palette import Palette

if TYPE_CHECKING:
    from hostler_tui.app import HostlerApp


class Pane(ScrollView, can_focus=False):
    """Lines of styled text; redraws the lines that changed and no others."""

    app: HostlerApp

    DEFAULT_CSS = """
    Pane { height: auto; overflow: hidden; scrollbar-size: 0 0; background: transparent; }
    """

    def __init__(self, lines: Iterable[Line] = (), **options: Any) -> None:
        super().__init__(**options)
        self._lines: tuple[Line, ...] = tuple(lines)
        self._look: Palette | None = None

    @property
    def lines(self) -> tuple[Line, ...]:
        """What it shows."""
        return self._lines

    @property
    def said(self) -> str:
        """What it says, as plain text."""
        return "\n".join(text_of(shown) for shown in self._lines)

    def show(self, lines: Iterable[Line]) -> None:
        """Show these lines in place of what was there."""
        new = tuple(lines)
        if new == self._lines and self._look is self.app.palette_of_look:
            return
        old, self._lines, self._look = self._lines, new, self.app.palette_of_look
        if len(new) != len(old):
            self.virtual_size = Size(0, len(new))
            self.refresh(layout=self.styles.height is not None and self.styles.height.is_auto)
            return
        top = self.scroll_offset.y
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            if before != after and 0 <= number - top < self.size.height:
                self.refresh(Region(0, number - top, self.size.width, 1))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many rows as there are lines."""
        return len(self._lines)

    def render_line(self, y: int) -> Strip:
        """The line at a row of the widget."""
        number = y + self.scroll_offset.y
        spans = self._lines[number] if number < len(self._lines) else ()
        width = self.scrollable_content_region.width or self.size.width
        return strip_of(spans, self.app.palette_of_look, width)
