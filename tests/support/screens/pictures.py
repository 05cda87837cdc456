"""Pictures of screens as text files: what a reviewer reads in a diff.

HOSTLER_NEW_PICTURES=1 writes them anew; look at them before they are committed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rich.style import Style
from textual.pilot import Pilot

from hostler_tui.app import HostlerApp
from tests.support.screens.screen import until

FOLDER = Path(__file__).parents[2] / "tui" / "snapshots"


async def check_picture(pilot: Pilot[int], name: str, shown: Callable[[], str]) -> None:
    """Compare with the stored one, once the screen has come to rest: a layout may take several
    turns, and on a busy machine they come late."""
    file = FOLDER / f"{name}.txt"
    if os.environ.get("HOSTLER_NEW_PICTURES"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(shown() + "\n")
    assert file.exists(), f"no picture {file.name}: HOSTLER_NEW_PICTURES=1 makes it"
    stored = file.read_text()
    await until(pilot, lambda: shown() + "\n" == stored, f"the screen differs from {file}", 10)


def style_map(app: HostlerApp) -> str:
    """A letter for the style of every cell, and what each letter stands for; blanks are dots."""
    names: dict[str, str] = {}
    rows = []
    for strip in app.screen._compositor.render_strips():
        row = ""
        for part in strip:
            style = _style_text(part.style)
            mark = names.setdefault(style, chr(ord("a") + len(names)))
            row += "".join("." if char == " " and mark == "a" else mark for char in part.text)
        rows.append(row)
    return "\n".join([*rows, "", *(f"{mark} {style}" for style, mark in names.items())])


def _style_text(style: Style | None) -> str:
    """Colours and attributes, without what only Textual knows of it."""
    return "none" if style is None else str(style.copy().clear_meta_and_links())
