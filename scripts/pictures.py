"""Draws the README's pictures of the screen.

    hostler demo -- python3 scripts/pictures.py docs/pictures

They show the simulated lab as it is at that moment, so that each drawing differs a little.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hostler_tui.app import HostlerApp

SIZE = (132, 36)
PATIENCE_S = 120.0
SETTLE_S = 4.0
"""For charts and logs to have something to show."""


async def draw(folder: Path) -> None:
    """Each picture as an SVG file that needs nothing from elsewhere."""
    app = HostlerApp()
    async with app.run_test(size=SIZE) as pilot:
        await _until(lambda: _training(app) is not None, "no run of several stages came")
        await asyncio.sleep(SETTLE_S)
        await pilot.press("1")
        await _draw(app, folder / "fleet.svg", "fits now")
        await pilot.press("2")
        await _draw(app, folder / "queue.svg", "WHY")
        run_id = _training(app)
        assert run_id is not None
        app.open_run(run_id)
        await _draw(app, folder / "run.svg", "STAGE")
        await _until(lambda: _is_shifting(app), "no release of a service takes over")
        await pilot.press("4")
        await _draw(app, folder / "services.svg", "requests/s")


def _is_shifting(app: HostlerApp) -> bool:
    """A release gets requests, and replicas of the one before are there."""
    opened = [one.opened for one in app.lab.services]
    return any(release is not None and release.state == "shifting" for release in opened)


def _training(app: HostlerApp) -> str | None:
    """The open run with the most stages of which a first one has ended and one runs."""
    fit = [
        run for run in app.lab.runs
        if {"succeeded", "running"} <= {stage.status for stage in run.stages}
    ]  # fmt: skip
    best = max(fit, key=lambda run: len(run.stages), default=None)
    return best.run_id if best is not None else None


async def _draw(app: HostlerApp, file: Path, text: str) -> None:
    await _until(lambda: text in _shown(app), f"{text} is not shown")
    await asyncio.sleep(SETTLE_S)
    svg = app.export_screenshot(title=f"hostler: {file.stem}")
    await asyncio.to_thread(file.write_text, _self_contained(svg))
    print(f"drew {file}")


async def _until(true: Callable[[], bool], why: str) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > ends:
            sys.exit(why)
        await asyncio.sleep(0.1)


def _shown(app: HostlerApp) -> str:
    return re.sub(r"<[^>]+>", " ", app.export_screenshot()).replace("&#160;", " ")


def _self_contained(svg: str) -> str:
    """Without the fonts that it would load; any monospaced one will do."""
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(draw(target))
