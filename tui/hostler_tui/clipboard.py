"""Copies to the clipboard by OSC 52, tmux or screen (HOSTLER_CLIPBOARD): the longest text, and
the file for longer ones.

Inside tmux a bare OSC 52 is dropped without a word by default; `tmux load-buffer -w` works with
every setting of it.
"""

from __future__ import annotations

import base64
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping

LIMIT = 74_994
"""Encoded bytes that terminals take in one sequence."""


def way(env: Mapping[str, str]) -> str:
    """ "tmux", "screen", "osc52" or "off", from HOSTLER_CLIPBOARD and the kind of terminal."""
    asked = env.get("HOSTLER_CLIPBOARD", "auto")
    if asked in ("osc52", "tmux", "off"):
        return asked
    if env.get("TMUX"):
        return "tmux"
    return "screen" if env.get("STY") else "osc52"


def sequence(text: str, *, in_screen: bool) -> str | None:
    """The escape sequence that sets the clipboard; None if the text is too long for one."""
    data = base64.b64encode(text.encode()).decode()
    if len(data) > LIMIT:
        return None
    bare = f"\x1b]52;c;{data}\x07"
    return f"\x1bP{bare}\x1b\\" if in_screen else bare


def copy(text: str, write: Callable[[str], object], env: Mapping[str, str] | None = None) -> str:
    """Copy; the result, for people ("copied", "saved to FILE: too long ...")."""
    chosen = way(os.environ if env is None else env)
    if chosen == "off":
        return "copying is off (HOSTLER_CLIPBOARD=off)"
    if chosen == "tmux":
        done = subprocess.run(
            ["tmux", "load-buffer", "-w", "-"], input=text.encode(), capture_output=True
        )
        return "copied" if done.returncode == 0 else _to_file(text, "tmux refused it")
    escape = sequence(text, in_screen=chosen == "screen")
    if escape is None:
        return _to_file(text, "too long for the terminal's clipboard")
    write(escape)
    return "copied"


def _to_file(text: str, why: str) -> str:
    with tempfile.NamedTemporaryFile("w", prefix="hostler-", suffix=".txt", delete=False) as file:
        file.write(text)
    return f"{why}: saved to {file.name}"
