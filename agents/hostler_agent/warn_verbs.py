"""Answers requests that warn a job or container of its time limit; `warning` decides which
processes get the signal."""

from __future__ import annotations

import contextlib
import os
from typing import Optional

from hostler_agent import inside, journal, warning
from hostler_agent.fields import text
from hostler_agent.folders import Folders, Refusal, check_attempt
from hostler_agent.http import Connection, HttpError, query
from hostler_agent.inspected import state_of
from hostler_agent.json_values import Json, Message, Outgoing
from hostler_agent.machine import boot_id
from hostler_agent.processes import Proc

_TIMEOUT = 8.0
"""Seconds; less than the time for which the requester waits."""
_NOT_SEEN = "its processes cannot be seen from the host"


def job(folders: Folders, payload: Message) -> Outgoing:
    """Warn a job. No error if it has ended. Raises Refusal."""
    ask, attempt = warning.wanted(payload), check_attempt(payload.get("attempt_id"))
    folder, proc = folders.job(attempt), Proc()
    found = journal.load(folder)
    if found is None:
        raise Refusal("there is no job %s here" % attempt, "NotFoundError")
    begun = found.started
    if begun is None or not found.running(proc, boot_id()):
        return warning.unknown("it does not run")
    root = warning.root_of(proc, begun.pid)
    if root is None or root.ticks != begun.ticks:
        return warning.unknown("its command has ended; only processes that it started still run")
    sender = warning.Sender(proc, root, ask)
    return warning.once(os.path.join(folder, warning.MARK), sender.send)


def container(folders: Folders, path: Optional[str], payload: Message) -> Outgoing:
    """Warn a container of an attempt. Raises Refusal."""
    ask, attempt = warning.wanted(payload), check_attempt(payload.get("attempt_id"))
    ref = text(payload, "ref")
    try:
        connection, found = inside.opened(path, ref, attempt, _TIMEOUT)
        try:
            return _container(folders, connection, found, ref, attempt, ask)
        finally:
            connection.close()
    except HttpError as error:
        raise Refusal("the container cannot be warned: %s" % error, "EngineError") from error


def _container(
    folders: Folders, connection: Connection, found: Message, ref: str, attempt: str,
    ask: warning.Wanted,
) -> Outgoing:  # fmt: skip
    if not inside.is_alive(found):
        return warning.unknown("it does not run")
    proc, pid = Proc(), state_of(found).get("Pid")
    first = warning.root_of(proc, pid) if isinstance(pid, int) and pid > 1 else None
    # If Docker itself runs in a container, it may report a PID of that container. So the process
    # must be visible here. This is checked last, so that the signal reaches this process or none.
    if first is None or proc.container(first.pid) != ref:
        return warning.unknown(_NOT_SEEN)
    root = warning.command_of_container(proc, first)

    def instead() -> bool:
        """Signal through Docker: the container's first process gets the signal or passes it on."""
        where = query("/containers/%s/kill" % ref, signal="SIG" + ask.name)
        for _ in connection.stream("POST", where):
            pass
        return True

    with contextlib.suppress(OSError):
        os.makedirs(marks(folders), 0o700, exist_ok=True)
    sender = warning.Sender(proc, root, ask, instead)
    return warning.once(os.path.join(marks(folders), attempt), sender.send)


def marks(folders: Folders) -> str:
    """The folder that records which containers were warned."""
    return os.path.join(folders.base, "warned")


def forget(folders: Folders, attempt: Json) -> None:
    """Remove the record of an attempt whose container is gone."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(os.path.join(marks(folders), check_attempt(attempt)))
