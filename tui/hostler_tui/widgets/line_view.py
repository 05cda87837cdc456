"""The base of lists and panes: when a line is rendered anew, and how rendered ones are cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from textual.geometry import Region
from textual.scroll_view import ScrollView
from textual.strip import Strip

from hostler_tui.widgets.options import WidgetOptions

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp

Known = tuple[tuple[object, ...], Strip]
"""The values from which a line was drawn, and the finished line."""


class LineView(ScrollView):
    """A widget of whole lines. Subclasses give `line_at`.

    Textual puts every line together from borders, padding and opacity, and asks its filters anew
    for each line of each picture. Here lines have none of that, so a finished one is all there is.
    """

    app: LabApp

    def __init__(self, **options: Unpack[WidgetOptions]) -> None:
        super().__init__(**options)
        self.top, self.text_width, self.line_width = 0, 0, 0
        """The first row in sight; cells of a line without and with the scrollbar's. Of the picture
        that is being drawn: asking for each line took longer than drawing it."""

    def line_at(self, y: int) -> Strip:
        """The finished line at a row of the widget; an unchanged line gives the same strip."""
        return Strip.blank(self.line_width)

    def render_line(self, y: int) -> Strip:
        """The same, for lines that Textual composes: inside a border."""
        self._measure()
        return self.line_at(y)

    def render_lines(self, crop: Region) -> list[Strip]:
        """The visible lines."""
        if any(self.styles.gutter):
            return super().render_lines(crop)
        self._measure()
        lines = [self.line_at(y) for y in crop.line_range]
        begin, end = crop.column_span
        if (begin, end) == (0, self.line_width):
            return lines
        return [strip.crop(begin, end) for strip in lines]

    def _measure(self) -> None:
        self.top = self.scroll_offset.y
        self.text_width = self.scrollable_content_region.width or self.size.width
        self.line_width = self.text_width if any(self.styles.gutter) else self.region.width

    def finished(self, strip: Strip) -> Strip:
        """A line with the look's background, as wide as the widget."""
        segments = list(strip.adjust_cell_length(self.line_width))
        background = self.background_colors[1]
        for wear in self.get_line_filters():
            segments = wear.apply(segments, background)
        return Strip(segments, self.line_width)
