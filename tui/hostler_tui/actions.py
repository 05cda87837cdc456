"""The form of a key's action, and the keys that work on every screen (palette, help, pause,
theme, copy, quit); other keys are in the screens' actions.py. Pure.

Keys, footer, palette and help are made from the whole table, in `screen_actions`, which also goes
to the main screens.

An action named `x` is carried out by the method `action_x` of the screen it belongs to, or of the
app. No single key changes work: what does opens a dialog or a form first.
"""

from __future__ import annotations

from dataclasses import dataclass

EVERYWHERE = "everywhere"


@dataclass(frozen=True, slots=True)
class Action:
    """One action, and its keys."""

    name: str
    keys: tuple[str, ...]
    """In Textual's names; the screen shows the first."""
    title: str
    """One or two words, for footer and palette."""
    help: str
    """A sentence, for the help screen and the palette."""
    screens: tuple[str, ...] = (EVERYWHERE,)
    footer: int = 0
    """Its place in the footer, 1 first; 0: not in the footer."""
    needs_daemon: bool = False
    """Disabled while the daemon is away."""
    types: bool = False
    """It opens a text input: keys that follow quickly are letters of the text."""
    command: str = ""
    """The same on the command line, with {id} in place of an id; "" if there is none."""

    @property
    def method(self) -> str:
        """The name without arguments: the method is `action_` and this."""
        return self.name.partition("(")[0]


_SHOWN = {
    "question_mark": "?", "slash": "/", "colon": ":", "exclamation_mark": "!", "enter": "ent",
    "escape": "esc", "space": "space", "tab": "tab", "less_than_sign": "<",
    "greater_than_sign": ">", "ampersand": "&", "plus": "+", "minus": "-", "up": "↑",
    "down": "↓", "left": "←", "right": "→", "pageup": "PgUp", "pagedown": "PgDn",
    "home": "Home", "end": "End",
}  # fmt: skip


def key_text(key: str) -> str:
    """The displayed name of a key: "?" for "question_mark"."""
    return _SHOWN.get(key, key)


ACTIONS: tuple[Action, ...] = (
    Action("palette", ("colon", "ctrl+p"), "command", "Find any object or action by a few letters",
           footer=80),
    Action("help", ("question_mark", "f1"), "help", "Keys of this screen", footer=98),
    Action("notices", ("exclamation_mark",), "notices", "Errors and notices"),
    Action("pause", ("p",), "pause", "Freeze the display; press again to resume", footer=85),
    Action("refresh", ("r",), "refresh", "Refresh now"),
    Action("theme", ("T",), "theme", "Next theme: dark, light, colour-blind, plain"),
    Action("copy_id", ("y",), "copy id", "Copy the id or name of the selected item", footer=60),
    Action("copy_command", ("Y",), "as CLI", "Copy the equivalent command",
           footer=61),
    Action("quit_asking", ("q", "ctrl+q"), "quit", "Quit; runs continue", footer=99),
)  # fmt: skip
