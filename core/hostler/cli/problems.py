"""Prints an error on stderr: cause, remedy, every problem of a file, no traceback;
base/errors.py has the exit code of each kind of error."""

from __future__ import annotations

import errno
import sys

from hostler.base.errors import HostlerError
from hostler.base.text import clean
from hostler.show.errors import error_lines

_NO_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def report(error: Exception) -> int:
    """Write the error to stderr; returns its exit code."""
    sys.stderr.write(describe(error))
    return exit_code(error)


def exit_code(error: Exception) -> int:
    """1 for anything that is not one of Hostler's own errors: it may never mean an answer."""
    return error.exit_code if isinstance(error, HostlerError) else 1


def describe(error: Exception) -> str:
    """The text of an error: `hostler: MESSAGE. REMEDY`, then its problems, one per line."""
    if isinstance(error, OSError) and error.filename is None and error.errno in _NO_OUTPUT:
        return f"hostler: the output cannot be written: {error.strerror}\n"
    if not isinstance(error, HostlerError):
        return (
            f"hostler: unexpected {type(error).__name__}: {clean(str(error))}. "
            "This is a bug; --debug shows where\n"
        )
    first, *problems = error_lines(error)
    return "\n  ".join([f"hostler: {first}", *problems]) + "\n"
