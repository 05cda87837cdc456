"""Follows a run in `hostler run`: how often the table is redrawn, lines quoted of failed stages,
wait for a restarted daemon, the question at Ctrl-C. A daemon that has just started does not know
the indices of GPUs at once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from hostler.base.errors import ForbiddenError, HostlerError, NoDaemonError, NotFoundError
from hostler.base.table import terminal_width, wants_color
from hostler.base.text import clean
from hostler.cli.log_output import LogPrinter
from hostler.cli.shared import ask_line, note
from hostler.quick.socket import heard
from hostler.show.fleet import is_new
from hostler.show.progress import gpu_indices, transitions, uses_gpus
from hostler.show.saved import saved_lines

if TYPE_CHECKING:
    from hostler.client import Client, Log
    from hostler.model.views.gpus import FleetView
    from hostler.model.views.kept import KeptView
    from hostler.model.views.runs import RunView, StageView


TICK = 0.5
_STAGES_QUOTED = 3
_LINES_QUOTED = 10
PATIENCE = 60.0
"""Seconds to wait for a daemon that went away during a follow: it may be restarting."""

_ASK_AGAIN = 2.0
"""Seconds between two requests for an unknown index, such as a silent host's."""


class Absence:
    """The time in which the daemon does not answer: reported once, then waited for."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._is_told = False

    def end(self) -> None:
        """The daemon has answered."""
        self._since, self._is_told = None, False

    def wait(self, error: NoDaemonError | None = None) -> None:
        """Wait a moment. A broken connection is opened again before it is reported.

        Raises the error if the daemon stays away for too long.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
            time.sleep(TICK / 10)
            return
        if error is not None and now - self._since > PATIENCE:
            raise error
        if not self._is_told:
            self._is_told = True
            note("the daemon does not answer; work continues; waiting for it")
        time.sleep(TICK)


class Follower:
    """Run objects as they change, through restarts of the daemon, up to a deadline."""

    def __init__(self, client: Client, run_id: str, timeout: float | None = None) -> None:
        self.client = client
        self.run_id = run_id
        self.run: RunView | None = None
        self._deadline = None if timeout is None else time.monotonic() + timeout

    @property
    def is_over(self) -> bool:
        """The run has ended."""
        return self.run is not None and self.run.outcome is not None

    @property
    def is_late(self) -> bool:
        """The deadline has passed."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def updates(self) -> Iterator[RunView]:
        """The run object on every change, and again on every tick, until its end or the deadline.

        Raises NoDaemonError where the daemon stays away.
        """
        absence = Absence()
        while not self.is_over and not self.is_late:
            broken: NoDaemonError | None = None
            try:
                for run in self._once():
                    absence.end()
                    yield run
            except NoDaemonError as error:
                broken = error
            if not self.is_over and not self.is_late:
                absence.wait(broken)

    def finish(self) -> None:
        """Wait for the end, or the deadline, without output."""
        for _ in self.updates():
            continue

    def _once(self) -> Iterator[RunView]:
        stream = self.client.run_events(self.run_id, follow=True, tick=TICK)
        for line in stream:
            if line.run is not None:
                self.run = line.run
            if self.run is not None:
                yield self.run
            if self.is_over or self.is_late:
                return


def follow_table(follower: Follower, color: str) -> None:
    """On a terminal: the live table, until the run ends or the deadline passes."""
    from hostler.cli.live import Screen, live_lines  # one command without a table does without

    screen = Screen(sys.stdout)
    painted = wants_color(color)
    known = KnownGpus(follower.client)
    for run in follower.updates():
        screen.show(
            live_lines(
                run,
                time.time(),
                known.of(run),
                width=terminal_width(),
                height=_terminal_height(),
                color=painted,
            )
        )


def follow_lines(follower: Follower, *, quiet: bool = False) -> None:
    """Without a terminal: one line for each stage that changes."""
    shown: RunView | None = None
    known = KnownGpus(follower.client)
    for run in follower.updates():
        if not quiet and run is not shown:
            for line in transitions(shown, run, known.of(run)):
                sys.stdout.write(clean(line) + "\n")
            sys.stdout.flush()
        shown = run


class CommandView:
    """A run of one command: what it writes, as it is written; notes about it on stderr.

    May be shown again after an interruption: it continues where it was.
    """

    def __init__(self, follower: Follower, *, quiet: bool = False) -> None:
        self._follower = follower
        self._quiet = quiet
        self._shown: RunView | None = None
        self._copied: dict[int, LogCopy] = {}
        self._said = ""

    def show(self) -> None:
        """Until the run ends or the deadline passes."""
        known = KnownGpus(self._follower.client)
        for run in self._follower.updates():
            stage = run.stages[0]
            if not self._quiet and run.outcome in (None, "succeeded"):
                indices = known.of(run) if uses_gpus(run) else {}
                for line in transitions(self._shown, run, indices):
                    note(line)  # how it failed is said at the end, and once is enough
                self._say_waiting(stage)
            self._shown = run
            attempt = stage.attempt
            if attempt is not None and stage.status not in ("waiting", "starting"):
                self._copy(stage.name, attempt.number)

    def _copy(self, stage: str, number: int) -> None:
        copy = self._copied.get(number)
        if copy is None:
            client, run_id = self._follower.client, self._follower.run_id
            copy = self._copied[number] = LogCopy(client, run_id, stage, number)
        copy.follow()

    def _say_waiting(self, stage: StageView) -> None:
        """Say once why the stage waits, or cannot start, and again when that changes."""
        reason = stage.reason if stage.status == "waiting" else None
        held_up = stage.trouble if stage.status == "starting" else None
        sentence = reason.sentence if reason else held_up or ""
        if sentence and sentence != self._said:
            note(f"{stage.label or stage.name}: {sentence}")
            self._said = sentence


class LogCopy:
    """An attempt's output on its way to stdout, until the attempt ends.

    Cut short by a restart of the daemon it resumes: at the same byte, or with `tail`, where the
    byte is not known, with what comes next.
    """

    def __init__(
        self,
        client: Client,
        run_id: str,
        stage: str,
        attempt: int,
        printer: LogPrinter | None = None,
        *,
        tail: int | None = None,
    ) -> None:
        self._client = client
        self._names = (run_id, stage)
        self._attempt = attempt
        self._printer = printer
        self._tail = tail
        self._offset = 0
        self._done = False

    def follow(self) -> None:
        """Copy the remaining output. Raises NoDaemonError if the daemon stays away."""
        absence = Absence()
        while not self._done:
            try:
                for part in self._open():
                    absence.end()
                    self._offset += len(part)
                    self._write(part)
                if self._printer is not None:
                    self._printer.finish()
                self._done = True
            except NoDaemonError as error:
                absence.wait(error)

    def _write(self, part: bytes) -> None:
        if self._printer is None:
            self._printer = LogPrinter()
        self._printer.write(part)

    def _open(self) -> Log:
        tail, offset = self._tail, self._offset if self._tail is None else None
        self._tail = None if tail is None else 0
        return self._client.logs(
            *self._names, attempt=self._attempt, follow=True, offset=offset, tail=tail
        )


def last_words(client: Client, run: RunView) -> list[str]:
    """The last lines of the first stages that failed: usually the error itself."""
    failed = [s for s in run.stages if s.status == "failed" and s.attempt]
    lines = []
    for stage in failed[:_STAGES_QUOTED]:
        try:
            log = client.logs(run.run_id, stage.name, tail=_LINES_QUOTED)
            said = b"".join(log).decode(errors="replace").splitlines()
        except HostlerError:
            continue  # the end is still shown
        if said:
            label = stage.label or stage.name
            lines += [f"the last of {label}:", *(f"  {line}" for line in said)]
    return lines


def ask_detach(client: Client, run_id: str) -> bool:
    """After Ctrl-C on a terminal: detach (True) or cancel (False)? The safe answer is detach."""
    sys.stderr.write("\n")  # below the ^C that the terminal has shown
    try:
        answer = ask_line(f"{run_id} continues. [d]etach, or [c]ancel the run? [d] ")
    except KeyboardInterrupt:
        return True
    if answer.strip().lower() not in ("c", "cancel"):
        return True
    client.cancel(run_id)
    note(f"{run_id}: cancelling; waiting for it to end")
    return False


def detached_note(run_id: str) -> None:
    """The commands for a run that is no longer followed."""
    note(f"detached; {run_id} continues")
    note(f"see it: hostler show {run_id}   stop it: hostler cancel {run_id}")


def _terminal_height() -> int:
    told = os.environ.get("LINES", "")
    if told.isdigit() and int(told) > 0:
        return int(told)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).lines or 24
    except (OSError, ValueError, AttributeError):
        return 24


def saved_of(client: Client, run: RunView) -> list[str]:
    """The lines at the end of a run; none if nothing has run, or this user may not see its
    files."""
    return _saved(client, run, saved_lines)


def shown_of(client: Client, run: RunView) -> list[str]:
    """The lines for a run that is shown with what stays of it on hosts."""
    from dataclasses import replace

    return _saved(client, run, lambda run, kept: saved_lines(run, replace(kept, remainders=())))


def _saved(
    client: Client, run: RunView, told: Callable[[RunView, KeptView], list[str]]
) -> list[str]:
    if not any(stage.attempt for stage in run.stages):
        return []
    try:
        kept = client.kept(run.run_id)
    except (ForbiddenError, NotFoundError):
        return []
    return told(run, kept) if kept.artifacts or kept.remainders else []


def indices_of(client: Client, runs: Iterable[RunView]) -> dict[str, int]:
    """GPU indices, for showing these runs once; none where they cannot be had (showing must not
    fail). A daemon that has just started gets a moment to query their GPUs."""
    used = {uuid for run in runs for uuid in used_gpus(run)}

    def misses_some(fleet: FleetView) -> bool:
        return is_new(fleet) and not used <= gpu_indices(fleet).keys()

    try:
        return gpu_indices(heard(client.gpus, misses_some))
    except HostlerError:
        return {}


def used_gpus(run: RunView) -> set[str]:
    """UUIDs of the GPUs of a run's latest attempts."""
    attempts = [stage.attempt for stage in run.stages if stage.attempt]
    return {uuid for attempt in attempts for uuid in attempt.gpus}


class KnownGpus:
    """GPU indices for a followed run, requested again while the run has a GPU with an unknown
    index."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._found: dict[str, int] = {}
        self._next_at = 0.0

    def of(self, run: RunView) -> dict[str, int]:
        """The indices that are known now; a newly started daemon knows them soon."""
        used = used_gpus(run)
        if not used <= self._found.keys() and time.monotonic() >= self._next_at:
            self._found |= indices_of(self._client, [run])
            self._next_at = time.monotonic() + _ASK_AGAIN
        return self._found
