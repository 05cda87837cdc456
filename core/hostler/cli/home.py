"""`hostler` without a command: opens the screen on a terminal, else prints one page of status;
how many open runs that lists."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import TYPE_CHECKING

from hostler.base.errors import HostlerError
from hostler.base.paths import NO_HOSTS, is_configured
from hostler.base.table import is_terminal, terminal_width, wants_color
from hostler.base.text import clean
from hostler.cli.host_tools import CommandTools
from hostler.cli.live import count_line
from hostler.cli.shared import ensure_daemon, note
from hostler.client import Client
from hostler.quick.socket import heard
from hostler.show.fleet import is_new
from hostler.show.gpus import render, summary_line

if TYPE_CHECKING:
    from hostler.model.views.runs import RunRow

SCREEN = "hostler_tui.app"


def run() -> int:
    """Open the screen if there is a terminal and the screen is installed; else print the status."""
    if is_terminal() and is_terminal(sys.stdin) and has_screen():
        return open_screen()
    client = Client(found=ensure_daemon(say=note))
    heard(client.gpus, is_new)  # "connecting" is no status
    sys.stdout.write(status_text(client, time.time()))
    if is_terminal(sys.stderr) and not is_configured():
        note(NO_HOSTS)
    return 0


def open_screen() -> int:
    """Show the terminal UI until the user leaves it; the exit code."""
    from hostler_tui.app import main  # slow to load

    return main(ensure_daemon, CommandTools())


def has_screen() -> bool:
    """Whether the terminal UI is installed."""
    try:
        return importlib.util.find_spec(SCREEN) is not None
    except ModuleNotFoundError:
        return False


def status_text(client: Client, now: float) -> str:
    """The GPUs, and running and waiting work."""
    fleet = client.gpus()
    terminal = is_terminal()
    width = terminal_width() if terminal else None
    text = render(fleet, "table", terminal=terminal, width=width, color=wants_color())
    if not terminal:
        text += clean(summary_line(fleet)) + "\n"
    open_runs = client.runs(state="open", limit=20)
    for summary in open_runs:
        text += clean(_run_line(client, summary)) + "\n"
    return text if open_runs else text + "no runs are open\n"


def _run_line(client: Client, summary: RunRow) -> str:
    name = f"{summary.run_id} {summary.pipeline} by {summary.owner}"
    try:
        return f"{name}: {count_line(client.show(summary.run_id))}"
    except HostlerError as error:  # it ended and was removed in between
        return f"{name}: {error.message}"
