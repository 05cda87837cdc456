"""docs/screen.md has the keys of the table of actions. HOSTLER_NEW_PICTURES=1 writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

from hostler_tui.actions import ACTIONS, EVERYWHERE, Action, key_text
from hostler_tui.fleet.order import FIELDS
from hostler_tui.palette import LOOKS
from hostler_tui.screen_actions import SCREEN_ACTIONS
from tests.support.values.fleets import fleet, host

FILE = Path(__file__).parents[2] / "docs" / "screen.md"
BEGIN, END = "<!-- keys -->\n", "<!-- end of keys -->"


def _row(action: Action) -> str:
    keys = " ".join(f"`{key_text(key)}`" for key in action.keys)
    return f"| {keys} | {action.help.replace('|', '/')} |\n"


def _tables() -> str:
    every = [action for action in (*SCREEN_ACTIONS, *ACTIONS) if action.keys]
    screens = dict.fromkeys(screen for action in every for screen in action.screens)
    parts = []
    for screen in screens:
        rows = "".join(_row(action) for action in every if screen in action.screens)
        title = "Everywhere" if screen == EVERYWHERE else screen.capitalize()
        parts.append(f"### {title}\n\n| key | |\n| --- | --- |\n{rows}")
    return "\n" + "\n".join(parts) + "\n"


def test_the_page_has_every_key() -> None:
    text = FILE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    told, _, after = rest.partition(END)
    if os.environ.get("HOSTLER_NEW_PICTURES"):
        FILE.write_text(before + BEGIN + _tables() + END + after, encoding="utf-8")
        told = _tables()
    assert told == _tables(), "HOSTLER_NEW_PICTURES=1 writes the keys into docs/screen.md anew"


def test_the_page_has_the_looks_and_its_filters_can_be_read() -> None:
    from hostler_tui.filtering import parse
    from hostler_tui.fleet.order import Order, arrange

    text = FILE.read_text(encoding="utf-8").partition("## Keys")[0]
    assert all(look in text for look in LOOKS)
    table = text.partition("**Filters.**")[2].partition("Enter keeps")[0]
    shown = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    filters = [part for cell in shown for part in cell.split("`")[1::2]]
    assert len(filters) > 8
    told = fleet(host("gpu-01", "..L"))
    for written in filters:
        arrange(told, Order(parse(written, FIELDS)), {})
    assert arrange(told, Order(parse("a100 state=free free>=2", FIELDS)), {})
