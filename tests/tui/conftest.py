"""Tests run the screen as people do: with tasks that start at once, where Python has them. They
read each style sheet once, not once for each app."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet


@pytest.fixture(autouse=True)
async def tasks_start_at_once() -> None:
    """As Textual's own `run` has it from Python 3.12 on; its `run_test` leaves it out."""
    eager = getattr(asyncio, "eager_task_factory", None)
    asyncio.get_running_loop().set_task_factory(eager)


@pytest.fixture(autouse=True, scope="session")
def style_sheets_are_read_once() -> Iterator[None]:
    """An app keeps what it has read of a style sheet. A process of tests has hundreds of apps."""
    read: dict[Any, list[RuleSet]] = {}
    read_anew = Stylesheet._parse_rules

    def read_once(sheet: Stylesheet, css: str, *where: Any, **how: Any) -> list[RuleSet]:
        colours = tuple(sheet._variables.items())
        key = (css, where, tuple(how.items()), colours)
        if key not in read:
            read[key] = read_anew(sheet, css, *where, **how)
        return read[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stylesheet, "_parse_rules", read_once)
        yield
