"""The frame of every screen: tabs and freshness ("live 1s", "OFFLINE 42s") at the top, the
banner without a daemon, keys at the bottom. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence

from hostler_tui.actions import Action, key_text
from hostler_tui.format import age_text
from hostler_tui.lab import Lab
from hostler_tui.lines import Line, Span, cell_width
from hostler_tui.screen_actions import MAIN_SCREENS, in_footer


def top_line(lab: Lab, tab: str, paused: bool, width: int, now: float) -> Line:
    """Tabs, then the age of the displayed data, at the right edge."""
    head: list[Span] = [(" hostler ", "title")]
    if lab.is_sim:
        head += [(" SIM ", "sim"), (" ", "")]
    right = freshness(lab, paused, now)
    room = width - _wide([*head, right]) - 2
    choices = (_tabs(tab, lab, " "), _tabs(tab, lab, ""), [(f" {tab.upper()}", "title")])
    tabs = next((spans for spans in choices if _wide(spans) <= room), choices[-1])
    gap = max(1, room - _wide(tabs) + 1)
    return (*head, *tabs, (" " * gap, ""), right, (" ", ""))


def _tabs(tab: str, lab: Lab, between: str) -> list[Span]:
    found: list[Span] = []
    for main in MAIN_SCREENS:
        here = main.name == tab
        found += [(f" {main.key} ", "dim"), _tab(main.name, here, lab), (between, "")]
    return found


def _wide(spans: Sequence[Span]) -> int:
    return sum(cell_width(text) for text, _ in spans)


def _tab(name: str, here: bool, lab: Lab) -> Span:
    count = f"!{lab.alerts_open}" if name == "alerts" and lab.alerts_open else ""
    return (f"{name.upper() if here else name}{count}", "title" if here else "dim")


def freshness(lab: Lab, paused: bool, now: float) -> Span:
    """ "live 1s", "PAUSED", "connecting", "OFFLINE 42s"."""
    age = None if lab.fleet_seen_at is None else max(0.0, now - lab.fleet_seen_at)
    if lab.lost_since is not None:
        return (f"OFFLINE {age_text(now - lab.lost_since)}", "bad")
    if paused:
        return (f"PAUSED {age_text(age)}", "warn")
    if not lab.connected:
        return ("connecting", "dim") if age is None else (f"old {age_text(age)}", "dim")
    return (f"live {age_text(age)}", "good" if age is not None and age < 5 else "warn")


def banner(lab: Lab, now: float) -> tuple[Line, ...]:
    """While the daemon is away: since when, why, and the age of the displayed data. Else
    nothing."""
    if lab.lost_since is None:
        return ()
    seen = lab.fleet_seen_at
    old = (
        f"values are from {time.strftime('%H:%M:%S', time.localtime(seen))}"
        if seen
        else "no values"
    )
    away = age_text(now - lab.lost_since)
    return (
        (
            (
                f" ! no daemon for {away} (try {lab.tries}); {old}; actions are off; r tries now",
                "bad",
            ),
        ),
        ((f"   {lab.lost_why}", "warn"),),
    )


def footer_lines(screen: str, width: int, live: bool, most: int = 2) -> tuple[Line, ...]:
    """The keys of a screen in at most `most` rows; keys that need the daemon are dim while it is
    away. Help and quit are always included."""
    shown = list(in_footer(screen))
    while len(lines := _wrap(shown, width, live)) > most and len(shown) > 2:
        shown.pop(-3)
    return lines


def _wrap(actions: Sequence[Action], width: int, live: bool) -> tuple[Line, ...]:
    lines: list[list[Span]] = [[]]
    used = 0
    for action in actions:
        key = key_text(action.keys[0])
        wide = cell_width(key) + cell_width(action.title) + 3
        if used + wide > width and used:
            lines.append([])
            used = 0
        off = action.needs_daemon and not live
        lines[-1] += [(f" {key}", "dim" if off else "key"), (f" {action.title} ", "dim")]
        used += wide
    return tuple(tuple(parts) for parts in lines)
