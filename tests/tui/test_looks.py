"""The looks: readable on their ground, told apart by everybody, and without colour where asked."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

import pytest
from rich.color import Color
from rich.style import Style
from textual.theme import BUILTIN_THEMES

from hostler_tui.palette import LOOKS, THEMES, Palette
from tests.support.programs.simserved import sim_served
from tests.support.programs.terminal import Terminal
from tests.support.screens.madefleet import Shown
from tests.support.screens.pictures import check_picture, style_map

COLOURED = [look for look in LOOKS if look != "plain"]
STATES = ("free", "leased", "idle", "foreign", "contested", "drained", "unhealthy")
OTHERS = ("title", "dim", "good", "warn", "bad", "accent", "key", "match", "sim", "unknown")
RGB = tuple[float, float, float]

# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear values.
VISIONS = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
                   (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
                     (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602),
                   (0.004733, 0.691367, 0.303900)),
}  # fmt: skip


def _linear(colour: Color) -> RGB:
    r, g, b = (value / 255 for value in colour.get_truecolor())
    return tuple(v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (r, g, b))  # type: ignore[return-value]


def _luminance(colour: Color) -> float:
    r, g, b = _linear(colour)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _contrast(one: Color, other: Color) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _ground(look: str) -> Color:
    ground = Palette(look).ground.bgcolor
    assert ground is not None
    return ground


@pytest.mark.parametrize("look", COLOURED)
def test_the_ground_is_that_of_the_theme(look: str) -> None:
    told = BUILTIN_THEMES[THEMES[look]].to_color_system().generate()
    ground = Palette(look).ground
    assert ground.bgcolor is not None
    assert ground.color is not None
    assert ground.bgcolor.name.upper() == told["background"]
    assert ground.color.name.upper() == told["foreground"]


@pytest.mark.parametrize("look", COLOURED)
@pytest.mark.parametrize("role", [*STATES, *OTHERS])
def test_every_role_is_readable_on_the_ground_and_under_the_cursor(look: str, role: str) -> None:
    palette = Palette(look)
    style, cursor = palette(role), palette("cursor").bgcolor
    colour = style.color or palette.ground.color
    assert cursor is not None
    assert colour is not None
    assert _contrast(colour, style.bgcolor or _ground(look)) >= 4.5
    assert _contrast(colour, style.bgcolor or cursor) >= 3.0


def _lab(rgb: RGB) -> RGB:
    r, g, b = (max(0.0, value) for value in rgb)
    xyz = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089,
    )
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz)
    return (116 * y - 16, 500 * (x - y), 200 * (y - z))


def _seen(colour: Color, vision: str) -> RGB:
    linear = _linear(colour)
    return tuple(sum(a * b for a, b in zip(row, linear, strict=True)) for row in VISIONS[vision])  # type: ignore[return-value]


@pytest.mark.parametrize("vision", list(VISIONS))
def test_states_are_told_apart_with_any_colour_vision(vision: str) -> None:
    palette = Palette("colour-blind")
    seen = {}
    for state in STATES:
        colour = palette(state).color
        assert colour is not None
        seen[state] = _lab(_seen(colour, vision))
    for one, other in itertools.combinations(STATES, 2):
        distance = sum((a - b) ** 2 for a, b in zip(seen[one], seen[other], strict=True)) ** 0.5
        assert distance > 10, (one, other)


def test_the_plain_look_has_no_colour() -> None:
    palette = Palette("plain")
    for role in (*STATES, *OTHERS, "cursor", "bar"):
        assert palette(role).color is None
        assert palette(role).bgcolor is None


SGR = re.compile(rb"\x1b\[([0-9;:]*)m")
ATTRIBUTES = {"", "0", "1", "2", "3", "4", "7", "9", "22", "23", "24", "27", "29"}


def _colours(output: bytes) -> set[str]:
    told = {part for match in SGR.finditer(output) for part in match[1].decode().split(";")}
    return told - ATTRIBUTES


@pytest.mark.programs
def test_no_color_sends_no_colour_and_states_stay_readable(tmp_path: Path) -> None:
    with sim_served(tmp_path) as lab:
        argv = [sys.executable, "-c", "from hostler_tui.app import main; main()"]
        env = {"NO_COLOR": "1", "HOSTLER_SOCKET": str(lab.socket), "XDG_CACHE_HOME": str(tmp_path)}
        with Terminal(argv, columns=100, rows=30, env=env) as terminal:
            terminal.wait_for(b"fits now")
            terminal.wait_for(b"foreign")
            for key, shows in ((b"?", b"Keys of fleet"), (b":", b"Find anything"),
                               (b"D", b"Reason for"), (b"!", b"Errors and notices")):  # fmt: skip
                before = terminal.count
                terminal.send(key)
                terminal.wait_for(shows, after=before)
                before = terminal.count
                terminal.send(b"\x1b")
                terminal.wait_for(b"fits now", after=before)
            assert not _colours(terminal.output)


async def test_t_goes_through_the_looks_and_plain_ends_colour(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown = Shown(monkeypatch, tmp_path)
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        for look in ("light", "colour-blind", "plain"):
            grounds = {style.bgcolor for style in _styles(shown)}
            assert None not in grounds, "something stands on the terminal's own ground"
            await pilot.press("T")
            await pilot.pause()
            assert shown.app.palette_of_look.look == look
        assert all(style.color is None and style.bgcolor is None for style in _styles(shown))


def _styles(shown: Shown) -> list[Style]:
    strips = shown.app.screen._compositor.render_strips()
    return [part.style or Style.null() for strip in strips for part in strip]


@pytest.mark.parametrize("look", ["dark", "colour-blind"])
async def test_the_styles_of_the_fleet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, look: str
) -> None:
    shown = Shown(monkeypatch, tmp_path)
    async with shown.run(80, 24) as pilot:
        shown.app._wear(look)
        await shown.see(pilot)
        await pilot.press("right")
        await pilot.pause()
        await check_picture(pilot, f"fleet-styles-{look}", lambda: style_map(shown.app))
