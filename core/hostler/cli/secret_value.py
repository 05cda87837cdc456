"""Reads the value of a secret from a terminal without echo, a pipe, a file or a command, and
refuses unfit ones; base/secret_rules.py has the largest size."""

from __future__ import annotations

import getpass
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from hostler.base.errors import InputError
from hostler.base.secret_rules import MAX_VALUE, check_secret_value
from hostler.base.table import is_terminal

_MOST = MAX_VALUE + 2
"""Bytes to read: one more than allowed, which shows that the value is too large."""
_BASE64 = "Encode bytes as text: base64 FILE | hostler secret set NAME"


def asked_value(
    name: str, file: str | None, program: str | None, say: Callable[[str], object]
) -> str:
    """The value for a secret. Raises InputError, without the value in it."""
    if file is not None:
        value = _text(_of_file(file))
        if value.count("\n") == 1:  # more lines are a file that is meant as it is
            value = _without_newline(value, say)
    elif program is not None:
        value = _without_newline(_text(_of_program(program)), say)
    elif is_terminal(sys.stdin):
        value = _typed(name)
    else:
        value = _without_newline(_text(sys.stdin.buffer.read(_MOST)), say)
    try:
        check_secret_value(value)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
    return value


def _typed(name: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(f"{name}: ")
        except getpass.GetPassWarning:
            raise InputError(
                "this terminal cannot hide the typed value",
                remedy=f"Use a pipe or a file: hostler secret set {name} --from-file FILE",
            ) from None
        except EOFError:
            raise InputError("no value was entered; the secret is unchanged") from None


def _of_file(file: str) -> bytes:
    try:
        with Path(file).expanduser().open("rb") as opened:
            return opened.read(_MOST)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from None


def _of_program(line: str) -> bytes:
    """The output of a command. Its messages and questions go to the terminal."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise InputError(f"--command cannot be read: {error}") from None
    if not words:
        raise InputError("--command is empty", remedy="Write it like --command 'pass show hf'")
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, check=False)
    except OSError as error:
        raise InputError(f"{words[0]} cannot be run: {error.strerror or error}") from None
    if done.returncode:
        raise InputError(
            f"{words[0]} failed with exit code {done.returncode}; the secret is unchanged"
        )
    return done.stdout


def _text(data: bytes) -> str:
    if len(data) > MAX_VALUE + 1:
        raise InputError(f"the value has more than {MAX_VALUE:,} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InputError("the value is not UTF-8", remedy=_BASE64) from None


def _without_newline(value: str, say: Callable[[str], object]) -> str:
    for end in ("\r\n", "\n"):
        if value.endswith(end) and value != end:
            say("the newline at the end is not part of the value")
            return value.removesuffix(end)
    return value
