"""The command line: runs one command, turns Ctrl-C and a closed pipe into exit codes; exit codes
of errors are in base/errors.py.

Nothing heavy is imported here: `hostler gpus` has to answer in tens of milliseconds.
"""

from __future__ import annotations

import gc
import os
import sys

from hostler.base.programs import leave_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code (the table of them is in docs/cli.md)."""
    if argv is None:
        leave_folder()  # before any module that the folder could stand in for
    words = list(sys.argv[1:] if argv is None else argv)
    _open_closed_streams()
    own = words[: words.index("--")] if "--" in words else words
    debug = "--debug" in own or bool(os.environ.get("HOSTLER_DEBUG"))
    try:
        code = _dispatch(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return EXIT_CLOSED_PIPE
    except Exception as error:
        if debug:
            raise
        from hostler.cli.problems import report

        code = report(error)
        _discard_unwritten()
    finally:
        if argv is None:
            gc.freeze()  # the process ends: Python would look for garbage in all that is loaded
    return code


def _open_closed_streams() -> None:
    """Started without stdout or stderr (`>&-`), write to nowhere: the next file that is opened
    would get their numbers, and what is said with it."""
    if sys.stdout is None or sys.stderr is None:
        nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (to the end)
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere


def _dispatch(words: list[str]) -> int:
    if words == ["gpus"]:  # the most frequent question: not even argparse
        from hostler.cli.commands import gpus

        return gpus.run(gpus.Options())
    from hostler.cli.parser import dispatch

    try:
        return dispatch(words)
    except SystemExit as stop:  # argparse: --help is 0, wrong usage is 2
        return stop.code if isinstance(stop.code, int) else 2


def _discard_unwritten() -> None:
    """If the output cannot be written, discard the rest: Python would try again at exit, complain,
    and change the exit code."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _discard_stdout()


def _discard_stdout() -> None:
    """The reader has closed the pipe: keep Python from complaining at shutdown."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass  # stdout is no file (a test's): there is nothing that could complain
