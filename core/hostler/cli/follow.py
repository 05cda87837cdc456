"""Following a run to its end: live table, plain lines, or the output of its one command."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from hostler.cli.live import Screen, live_lines
from hostler.cli.log_output import LogPrinter
from hostler.cli.render import gpu_indices, transitions
from hostler.cli.shared import ask_line, note
from hostler.client import Client
from hostler.errors import HostlerError, NoDaemonError
from hostler.quick.table import terminal_width, wants_color
from hostler.text import clean

TICK = 0.5
PATIENCE = 60.0
"""Seconds to wait for a daemon that went away while it was followed: it may be restarting."""


class Detached(Exception):
    """The person chose to look no longer; the run goes on."""


class Follower:
    """Run objects as they change, through restarts of the daemon, up to a deadline."""

    def __init__(self, client: Client, run_id: str, timeout: float | None = None) -> None:
        self.client = client
        self.run_id = run_id
        self.run: dict[str, Any] | None = None
        self._deadline = None if timeout is None else time.monotonic() + timeout

    @property
    def is_over(self) -> bool:
        """The run has ended."""
        return self.run is not None and self.run.get("outcome") is not None

    @property
    def is_late(self) -> bool:
        """The deadline has passed."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def updates(self) -> Iterator[dict[str, Any]]:
        """The run object on every change, and again on every tick, until its end or the deadline.

        Raises NoDaemonError where the daemon stays away.
        """
        gone_since: float | None = None
        while not self.is_over and not self.is_late:
            try:
                for run in self._once():
                    gone_since = None
                    yield run
            except NoDaemonError:
                gone_since = gone_since or time.monotonic()
                if time.monotonic() - gone_since > PATIENCE:
                    raise
            if not self.is_over and not self.is_late:
                if gone_since is None:
                    gone_since = time.monotonic()
                    note("the daemon went away; the work goes on; waiting for it to come back")
                time.sleep(TICK)

    def _once(self) -> Iterator[dict[str, Any]]:
        stream = self.client.run_events(self.run_id, follow=True, tick=TICK)
        for line in stream:
            run = (line or {}).get("run")
            if run is not None:
                self.run = run
            if self.run is not None:
                yield self.run
            if self.is_over or self.is_late:
                return


def indices_of(client: Client) -> dict[str, int]:
    """GPU indices, for showing; none where they cannot be had (showing must not fail)."""
    try:
        return gpu_indices(client.gpus())
    except HostlerError:
        return {}


def follow_table(follower: Follower, color: str) -> None:
    """On a terminal: the live table, until the run ends or the deadline passes."""
    screen = Screen(sys.stdout)
    painted = wants_color(color)
    indices = indices_of(follower.client)
    for run in follower.updates():
        screen.show(
            live_lines(
                run,
                time.time(),
                indices,
                width=terminal_width(),
                height=_terminal_height(),
                color=painted,
            )
        )


def follow_lines(follower: Follower, *, quiet: bool = False) -> None:
    """Elsewhere: a line for each stage that changes."""
    shown: dict[str, Any] | None = None
    indices = indices_of(follower.client)
    for run in follower.updates():
        if not quiet and run is not shown:
            for line in transitions(shown, run, indices):
                sys.stdout.write(clean(line) + "\n")
            sys.stdout.flush()
        shown = run


def follow_command(follower: Follower, *, quiet: bool = False) -> None:
    """A run of one command: what it writes, as it is written; notes about it on stderr."""
    shown: dict[str, Any] | None = None
    printed: set[int] = set()
    said = ""
    indices = indices_of(follower.client)
    for run in follower.updates():
        stage = run["stages"][0]
        attempt = stage.get("attempt")
        if not quiet:
            for line in transitions(shown, run, indices):
                note(line)
            said = _say_waiting(stage, said)
        shown = run
        begun = attempt is not None and stage["status"] not in ("waiting", "starting")
        if attempt is not None and begun and attempt["number"] not in printed:
            printed.add(attempt["number"])
            copy_log(follower.client, follower.run_id, stage["name"], attempt["number"])


def _say_waiting(stage: dict[str, Any], said: str) -> str:
    """Say once why the stage waits, and again when that changes."""
    reason = stage.get("reason") if stage["status"] == "waiting" else None
    sentence = str(reason["sentence"]) if reason else ""
    if sentence and sentence != said:
        note(f"waiting: {sentence}")
    return sentence or said


def copy_log(
    client: Client,
    run_id: str,
    stage: str,
    attempt: int,
    printer: LogPrinter | None = None,
    *,
    tail: int | None = None,
) -> None:
    """Copy an attempt's output to stdout until the attempt ends.

    Cut short by a restart of the daemon it resumes: at the same byte, or with `tail`, where the
    byte is not known, with what comes next.
    """
    printer = printer or LogPrinter()
    offset = 0
    gone_since: float | None = None
    while True:
        try:
            where_from = {"offset": offset} if tail is None else {"tail": tail}
            for part in client.logs(run_id, stage, attempt=attempt, follow=True, **where_from):
                gone_since = None
                offset += len(part)
                printer.write(part)
            printer.finish()
            return
        except NoDaemonError:
            gone_since = gone_since or time.monotonic()
            if time.monotonic() - gone_since > PATIENCE:
                raise
            tail = None if tail is None else 0
            time.sleep(TICK)


def ask_detach(client: Client, run_id: str) -> bool:
    """After Ctrl-C on a terminal: detach (True) or cancel (False)? The safe answer is detach."""
    try:
        answer = ask_line(f"\n{run_id} goes on. [d]etach, or [c]ancel the run? [d] ")
    except KeyboardInterrupt:
        return True
    if answer.strip().lower() not in ("c", "cancel"):
        return True
    client.cancel(run_id)
    note(f"{run_id}: cancelling; waiting for it to end")
    return False


def detached_note(run_id: str) -> None:
    """What to do about a run that is no longer watched."""
    note(f"detached; {run_id} goes on")
    note(f"see it: hostler show {run_id}   stop it: hostler cancel {run_id}")


def _terminal_height() -> int:
    told = os.environ.get("LINES", "")
    if told.isdigit() and int(told) > 0:
        return int(told)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).lines or 24
    except (OSError, ValueError, AttributeError):
        return 24
