"""Writes the web page of `hostler gpus --html` to a file or stdout, once or repeatedly with
--watch; show/gpus_html.py has its content."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hostler.base.errors import InputError, NoDaemonError
from hostler.cli.shared import note
from hostler.model.views.gpus import FleetView
from hostler.show.gpus_html import page

STDOUT = "-"

Look = Callable[[], FleetView]


def write_once(name: str, look: Look) -> None:
    """Write the present page to a file or to stdout. Raises InputError if it cannot be written."""
    _write(name, page(look()))


def keep_written(name: str, look: Look, every: float) -> None:
    """The page as of now, again and again until interrupted; browsers load it anew by themselves.

    What is not known any more is said on it. Raises InputError without a file, and what the first
    look raises.
    """
    if name == STDOUT:
        raise InputError("--html with --watch needs a file", remedy="Name one: --html FILE")
    fleet = look()
    problem = None
    while True:
        _write(name, page(fleet, every=every, problem=problem))
        time.sleep(every)
        try:
            fleet, problem = look(), None
        except NoDaemonError as error:
            problem = error.message
            note(problem)


def _write(name: str, text: str) -> None:
    if name == STDOUT:
        sys.stdout.write(text)
        return
    path = Path(name)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        try:
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(path)
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink()
    except OSError as error:
        raise InputError(f"{name} cannot be written: {error.strerror}") from error
