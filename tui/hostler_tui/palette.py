"""Colours of states, statuses and roles in each look of the screen: dark, light, colour-blind,
plain. Pure.

No state is shown by colour alone: its letter and word are always shown.
"""

from __future__ import annotations

from rich.style import Style

LOOKS = ("dark", "light", "colour-blind", "plain")
"""Names of the looks; "plain" (NO_COLOR) has no colour at all."""

_STATES = ("free", "leased", "idle", "foreign", "contested", "drained", "unhealthy", "unknown")

# Okabe and Ito's colours, which people with any colour vision tell apart (jfly.uni-koeln.de/color).
_OKABE_ITO = {
    "free": "#009e73", "leased": "#56b4e9", "idle": "#f0e442", "foreign": "#e69f00",
    "contested": "#cc79a7", "drained": "#c0c0c0", "unhealthy": "bold #d55e00",
    "unknown": "#c0c0c0",
}  # fmt: skip

# Colours are given in full: what a terminal makes of "green" may not be readable on any ground.
_COLOURS: dict[str, dict[str, str]] = {
    "dark": {
        "free": "#5fd75f", "leased": "#6cb6ff", "idle": "#5fd7d7", "foreign": "#ffaf00",
        "contested": "#ff87ff", "drained": "#a8a8a8", "unhealthy": "bold #ff7b7b",
        "unknown": "#a8a8a8", "title": "bold", "dim": "#a8a8a8", "good": "#5fd75f",
        "warn": "#ffaf00", "bad": "bold #ff7b7b", "accent": "#87d7ff", "cursor": "on #303030",
        "bar": "reverse", "key": "bold #87d7ff", "match": "#121212 on #ffd75f",
        "sim": "bold #121212 on #ffd75f",
    },
    "light": {
        "free": "#005f00", "leased": "#0000af", "idle": "#005555", "foreign": "#743b00",
        "contested": "#6b006b", "drained": "#444444", "unhealthy": "bold #8f0000",
        "unknown": "#444444", "title": "bold", "dim": "#444444", "good": "#005f00",
        "warn": "#743b00", "bad": "bold #8f0000", "accent": "#004a85", "cursor": "on #c6c6c6",
        "bar": "reverse", "key": "bold #0000af", "match": "#121212 on #ffd75f",
        "sim": "bold #121212 on #ffd75f",
    },
    "colour-blind": {
        **_OKABE_ITO,
        "title": "bold", "dim": "#c0c0c0", "good": "#009e73", "warn": "#e69f00",
        "bad": "bold #d55e00", "accent": "#56b4e9", "cursor": "on #2a2a2a", "bar": "reverse",
        "key": "bold #56b4e9", "match": "#121212 on #f0e442", "sim": "bold #121212 on #f0e442",
    },
    "plain": {
        **dict.fromkeys(_STATES, ""),
        "unhealthy": "bold", "contested": "bold", "drained": "dim", "unknown": "dim",
        "title": "bold", "dim": "dim", "good": "", "warn": "bold", "bad": "bold", "accent": "",
        "cursor": "reverse", "bar": "reverse", "key": "bold", "match": "reverse", "sim": "reverse",
    },
}  # fmt: skip

STATUS_ROLES = {
    "succeeded": "good", "running": "accent", "starting": "accent",
    "collecting": "accent", "waiting": "dim", "requeued": "dim",
    "failed": "bad", "cancelled": "warn", "lost": "bad", "skipped": "dim", "stopping": "warn",
    "critical": "bad", "warning": "warn", "info": "dim",
    "ready": "good", "live": "good", "degraded": "warn", "failing": "bad", "delivering": "accent",
    "shifting": "accent", "retired": "dim", "restored": "warn", "ended": "dim", "stopped": "dim",
}  # fmt: skip
"""Status words of stages, runs, services, releases and alerts, with the role in which each is
drawn."""


THEMES = {"dark": "textual-dark", "light": "textual-light", "colour-blind": "textual-dark",
          "plain": "ansi-dark"}  # fmt: skip
"""Textual's theme under each look: for the background and its own widgets."""


_GROUNDS = {"dark": "#e0e0e0 on #121212", "light": "#1f1f1f on #e0e0e0",
            "colour-blind": "#e0e0e0 on #121212", "plain": ""}  # fmt: skip
"""The same as the theme's own, for text without its own colour."""


class Palette:
    """The styles of one look, by role or by state word; an unknown name is unstyled."""

    def __init__(self, look: str) -> None:
        self.look = look
        self._styles = {name: Style.parse(text) for name, text in _COLOURS[look].items()}
        self._none = Style.null()
        self.ground = Style.parse(_GROUNDS[look])
        """The style of the background."""

    def __call__(self, role: str) -> Style:
        """The style of a role, a GPU's state word or a status word."""
        return self._styles.get(role) or self._styles.get(STATUS_ROLES.get(role, "")) or self._none
