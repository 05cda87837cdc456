"""State words and roles as terminal styles, for each look of the screen. Pure.

No state is told by colour alone: its letter and its word are always there.
"""

from __future__ import annotations

from rich.style import Style

LOOKS = ("dark", "light", "colour-blind", "plain")
"""Names of the looks; "plain" (NO_COLOR) has no colour at all."""

_STATES = ("free", "leased", "idle", "foreign", "contested", "drained", "unhealthy", "unknown")

# Okabe and Ito's colours, which people with any colour vision tell apart (jfly.uni-koeln.de/color).
_OKABE_ITO = {
    "free": "#009e73", "leased": "#56b4e9", "idle": "#f0e442", "foreign": "#e69f00",
    "contested": "#cc79a7", "drained": "grey62", "unhealthy": "bold #d55e00", "unknown": "grey62",
}  # fmt: skip

_COLOURS: dict[str, dict[str, str]] = {
    "dark": {
        "free": "green", "leased": "bright_blue", "idle": "cyan", "foreign": "yellow",
        "contested": "magenta", "drained": "grey62", "unhealthy": "bold bright_red",
        "unknown": "grey62", "title": "bold", "dim": "grey62", "good": "green", "warn": "yellow",
        "bad": "bold bright_red", "accent": "bright_cyan", "cursor": "on grey27", "bar": "reverse",
        "key": "bold bright_cyan", "match": "black on yellow", "sim": "bold black on yellow",
    },
    "light": {
        "free": "dark_green", "leased": "blue", "idle": "dark_cyan", "foreign": "dark_orange3",
        "contested": "purple", "drained": "grey42", "unhealthy": "bold red3", "unknown": "grey42",
        "title": "bold", "dim": "grey42", "good": "dark_green", "warn": "dark_orange3",
        "bad": "bold red3", "accent": "dark_cyan", "cursor": "on grey82", "bar": "reverse",
        "key": "bold blue", "match": "black on yellow", "sim": "bold black on yellow",
    },
    "colour-blind": {
        **_OKABE_ITO,
        "title": "bold", "dim": "grey62", "good": "#009e73", "warn": "#e69f00",
        "bad": "bold #d55e00", "accent": "#56b4e9", "cursor": "on grey27", "bar": "reverse",
        "key": "bold #56b4e9", "match": "black on #f0e442", "sim": "bold black on #f0e442",
    },
    "plain": {
        **dict.fromkeys(_STATES, ""),
        "unhealthy": "bold", "contested": "bold", "drained": "dim", "unknown": "dim",
        "title": "bold", "dim": "dim", "good": "", "warn": "bold", "bad": "bold", "accent": "",
        "cursor": "reverse", "bar": "reverse", "key": "bold", "match": "reverse", "sim": "reverse",
    },
}  # fmt: skip

STATUS_ROLES = {
    "succeeded": "good", "running": "accent", "starting": "accent", "waiting": "dim",
    "failed": "bad", "cancelled": "warn", "lost": "bad", "skipped": "dim", "stopping": "warn",
    "critical": "bad", "warning": "warn", "info": "dim",
}  # fmt: skip
"""Status words of stages, runs and alerts: the role each is drawn in."""


class Palette:
    """The styles of one look, by role or by state word; an unknown name is unstyled."""

    def __init__(self, look: str) -> None:
        self.look = look
        self._styles = {name: Style.parse(text) for name, text in _COLOURS[look].items()}
        self._none = Style.null()

    def __call__(self, role: str) -> Style:
        """The style of a role, a GPU's state word or a status word."""
        return self._styles.get(role) or self._styles.get(STATUS_ROLES.get(role, "")) or self._none
