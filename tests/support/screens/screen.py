"""What a person sees on the screen, as text: for snapshots that a reviewer can read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from textual.pilot import Pilot

from hostler.base.errors import NoDaemonError
from hostler.quick.socket import Found
from hostler_tui.app import HostlerApp


def text_of(app: HostlerApp) -> str:
    """The picture, line by line, without trailing blanks."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(part.text for part in strip).rstrip() for strip in strips)


async def until(
    pilot: Pilot[int], true: Callable[[], bool], why: str, timeout: float = 60.0
) -> None:
    """Until something holds on the screen; fails showing the picture. Looks less and less often: a
    look may ask a daemon, or draw the whole picture."""
    ends, pause = time.monotonic() + timeout, 0.02
    while not true():
        if time.monotonic() > ends:
            assert isinstance(pilot.app, HostlerApp)
            raise AssertionError(f"{why}:\n{text_of(pilot.app)}")
        await pilot.pause()
        await asyncio.sleep(pause)
        pause = min(0.15, pause * 1.3)


async def until_shown(pilot: Pilot[int], text: str, timeout: float = 60.0) -> None:
    """Until the picture has this text."""
    app = pilot.app
    assert isinstance(app, HostlerApp)
    await until(pilot, lambda: text in text_of(app), f"{text!r} is not shown", timeout)


def no_daemon() -> Found:
    """For an app whose model a test fills by hand."""
    raise NoDaemonError("nothing listens on /nowhere", remedy="Start one")
