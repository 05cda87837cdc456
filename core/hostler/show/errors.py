"""The lines of an error message (cause, remedy, each problem of a file), for the command line
and the screen; overlong words are cut. Pure."""

from __future__ import annotations

import re

from hostler.base.errors import HostlerError, InputError
from hostler.base.text import clean

_ENDLESS = re.compile(r"\S{1000,}")
_COMMANDS = ("hostler", "ssh", "docker", "python3", "pip")


def error_lines(error: HostlerError) -> list[str]:
    """MESSAGE. REMEDY, then its problems, one per line."""
    problems = error.untold if isinstance(error, InputError) else ()
    return [_shown(text) for text in (_sentences(error), *map(str, problems))]


def _sentences(error: HostlerError) -> str:
    """The error as text, with its remedy as a sentence of its own."""
    text, remedy = str(error), error.remedy
    word = remedy.split(" ")[0].rstrip(":,;")
    if not word.isalpha() or word in _COMMANDS or not text.endswith(remedy):
        return text
    return text[: len(text) - len(remedy)] + remedy[0].upper() + remedy[1:]


def _shown(text: str) -> str:
    """A text for a terminal: a word of thousands of letters, typed by mistake, is cut."""
    return clean(_ENDLESS.sub(lambda word: f"{word[0][:60]}...{word[0][-60:]}", text))
