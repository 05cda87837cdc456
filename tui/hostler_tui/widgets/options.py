"""The options of widgets (name, id, classes; of inputs also the placeholder) that are passed on to
Textual, with their types."""

from __future__ import annotations

from typing import TypedDict


class WidgetOptions(TypedDict, total=False):
    """See `textual.widget.Widget`."""

    name: str | None
    id: str | None
    classes: str | None
    disabled: bool


class InputOptions(WidgetOptions, total=False):
    """See `textual.widgets.Input`."""

    placeholder: str
    compact: bool
