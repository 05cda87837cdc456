"""Refuses requests that change anything from a daemon whose database was restored elsewhere since;
the list of such requests.

A daemon that is restored from a backup takes a higher number, its generation, and records it on
each host. The earlier daemon may still run somewhere. From then on the host refuses all its
requests that would change something.
"""

from __future__ import annotations

import json
import os
import re
from typing import NamedTuple, Optional

from hostler_agent.folders import Folders, Refusal, check_attempt, write_file
from hostler_agent.json_values import Json, integer, string, table

_MARK = re.compile(r"[0-9a-f]{0,128}")
_MOST_BYTES = 4096
_MOST = 2**53
FIRST = 1
"""The generation of a daemon that was never restored. It is not written to a file, so that the
daemon can look at a host whose disk is full."""
CHANGING = frozenset((
    "claim", "bind", "release", "gc", "gc.checkpoints", "run.keep", "run.forget", "kept.forget",
    "clean", "job.create", "job.place", "job.start", "job.signal", "job.stop", "job.remove",
    "secret.put", "nested.open", "nested.answer", "job.warn", "container.warn", "job.prepare",
    "gateway.put", "gateway.remove", "job.packages", "job.wheels", "service.keep",
))  # fmt: skip
"""Requests that only the newest generation may make; looking and reading are harmless."""


class Generation(NamedTuple):
    """A daemon's number, and a mark that only that daemon can have made."""

    number: int
    """0: the agent has no generation, and may only read."""
    mark: str


class Superseded(Refusal):
    """A newer generation of the daemon works here."""

    def __init__(self, found: Generation) -> None:
        text = "a newer generation (%d) of this daemon uses this host" % found.number
        super().__init__(text, "Superseded")
        self.more = {"generation": found.number, "mark": found.mark}


class Generations:
    """The generation of one agent's daemon, and the newest one that the host has recorded."""

    def __init__(self, folders: Folders, daemon_id: Json, told: Json) -> None:
        name = "%s.generation" % check_attempt(daemon_id)
        self._path = os.path.join(folders.base, "runs", name)
        self._own = Generation(0, "") if told is None else _read(told)

    def check(self) -> None:
        """Raises Superseded if a newer generation was here, Refusal if it is unknown."""
        found = self._found()
        if found is not None and found.number > self._own.number:
            raise Superseded(found)

    def admit(self) -> None:
        """Check whether this agent may serve, before it ends another agent."""
        if self._own.number:
            self.check()

    def take(self) -> None:
        """Record this daemon's generation if it is newer; it is on the disk when this returns. The
        caller holds the daemon's lock, so that no newer one is written meanwhile."""
        self.admit()
        found = self._found()
        if self._own.number <= (FIRST if found is None else found.number):
            return
        try:
            self._write()
        except OSError as error:
            text = "%s cannot be written (%s), by which an older daemon is refused here"
            raise Refusal(text % (self._path, error.strerror)) from error

    def _write(self) -> None:
        folder = os.path.dirname(self._path)
        os.makedirs(folder, 0o700, exist_ok=True)
        write_file(self._path, json.dumps(self._own._asdict()).encode("ascii"), sync=True)
        for path in (folder, os.path.dirname(folder)):
            _sync(path)

    def _found(self) -> Optional[Generation]:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags)
        except FileNotFoundError:
            return None
        try:
            return _read(json.loads(os.read(descriptor, _MOST_BYTES).decode("ascii")))
        except (ValueError, Refusal):
            text = "%s there cannot be read: it is unknown which daemon may use this host"
            raise Refusal(text % self._path) from None
        finally:
            os.close(descriptor)


def _read(told: Json) -> Generation:
    fields = table(told)
    number, mark = integer(fields.get("number")), string(fields.get("mark"))
    if number is not None and 0 < number < _MOST and mark is not None and _MARK.fullmatch(mark):
        return Generation(number, mark)
    raise Refusal("%r is not a generation of a daemon" % (told,), "InputError")


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
