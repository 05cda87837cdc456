"""Errors as a person reads them: one line on stderr, every problem of a file, no traceback."""

from __future__ import annotations

import errno
import re
import sys

from hostler.base.errors import HostlerError, InputError
from hostler.base.text import clean

_NO_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_ENDLESS = re.compile(r"\S{1000,}")
_COMMANDS = ("hostler", "ssh", "docker", "python3", "pip")


def _sentences(error: HostlerError) -> str:
    """The error as text, with its remedy as a sentence of its own."""
    text, remedy = str(error), error.remedy
    word = remedy.split(" ")[0].rstrip(":,;")
    if not word.isalpha() or word in _COMMANDS or not text.endswith(remedy):
        return text
    return text[: len(text) - len(remedy)] + remedy[0].upper() + remedy[1:]


def report(error: Exception) -> int:
    """Write the error to stderr; the exit code it means."""
    sys.stderr.write(describe(error))
    return exit_code(error)


def exit_code(error: Exception) -> int:
    """1 for anything that is not one of Hostler's own errors: it may never mean an answer."""
    return error.exit_code if isinstance(error, HostlerError) else 1


def describe(error: Exception) -> str:
    """The text of an error: `hostler: MESSAGE. REMEDY`, then its problems, a line each."""
    if isinstance(error, OSError) and error.filename is None and error.errno in _NO_OUTPUT:
        return f"hostler: the output cannot be written: {error.strerror}\n"
    if not isinstance(error, HostlerError):
        return (
            f"hostler: unexpected {type(error).__name__}: {clean(str(error))}. "
            "This is a bug; --debug shows where\n"
        )
    text = f"hostler: {_shown(_sentences(error))}\n"
    if isinstance(error, InputError):
        text += "".join(f"  {_shown(str(problem))}\n" for problem in error.untold)
    return text


def _shown(text: str) -> str:
    """A text for a terminal: a word of thousands of letters, typed by mistake, is cut."""
    return clean(_ENDLESS.sub(lambda word: f"{word[0][:60]}...{word[0][-60:]}", text))
