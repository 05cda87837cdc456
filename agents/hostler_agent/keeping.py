"""Marks ended process jobs whose files stay on this host, counts them for looks, and lists all that
is kept (at most 10,000) for `kept.list`."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Set

from hostler_agent.fields import text, whole
from hostler_agent.folders import Folders, Refusal, check_attempt, write_file
from hostler_agent.json_values import Json, Outgoing, number
from hostler_agent.look_sections import KeptRow
from hostler_agent.wire import decode_line

MARK = "kept"
_MOST = 16 * 1024
_TICK = 10**9
MOST_LISTED = 10_000


class Mark(NamedTuple):
    """The content of a mark (of a job) or a note (about a container)."""

    daemon_id: str
    ref: str
    until: float
    files: int
    bytes: int
    path: str

    def answer(self) -> Outgoing:
        """Return the answer to the transfer that created it."""
        return {"files": self.files, "bytes": self.bytes, "path": self.path}


def read(path: str) -> Optional[Mark]:
    """Read a mark or note; None if it is missing or unreadable. The job can write anything
    there."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            told = decode_line(file.read(_MOST))
        until = number(told.get("until"))
        return None if until is None else Mark(
            text(told, "daemon_id"), text(told, "ref"), until, whole(told, "files"),
            whole(told, "bytes"), text(told, "path"),
        )  # fmt: skip
    except (OSError, ValueError, Refusal):
        return None


def mark(path: str, told: Mark) -> None:
    """Write a mark or note."""
    write_file(path, json.dumps(told._asdict()).encode("ascii"), sync=True)


def notes_folder(folders: Folders) -> str:
    """The folder of the notes about containers."""
    return os.path.join(folders.base, "kept")


class Notes:
    """The notes about containers, for every look. They are read again after a change."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._stamp = -1
        self._known: Dict[str, Mark] = {}

    def by_ref(self) -> Dict[str, Mark]:
        """Container id -> its note."""
        try:
            stamp = os.stat(self._folder).st_mtime_ns
        except OSError:
            return {}
        # Two writes within one tick of the clock have the same time stamp.
        if stamp != self._stamp or time.time_ns() - stamp < _TICK:
            self._stamp = stamp
            paths = [os.path.join(self._folder, name) for name in _names(self._folder)]
            found = [read(path) for path in paths if path.endswith(".json")]
            self._known = {told.ref: told for told in found if told is not None}
        return self._known

    def forget(self, attempt: Json) -> None:
        """Forget the note about a container that was removed."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._folder, check_attempt(attempt) + ".json"))


def total(marks: Iterable[Mark], daemon_id: str) -> KeptRow:
    """The number of kept containers of a daemon, and their bytes."""
    own = [told.bytes for told in marks if told.daemon_id == daemon_id]
    return KeptRow(len(own), min(sum(own), 2**62))


def keep(attempt: str, folders: Folders, until: float, pulse: Callable[[], None]) -> Mark:
    """Mark an ended job whose files stay, with their number, bytes and place. If it is marked
    already, only the time changes. Raises Refusal."""
    told = _job(attempt, folders, until, pulse)
    from hostler_agent.shim import notify

    notify(folders.notify, attempt)  # running agents read its journal again
    return told


def _job(attempt: str, folders: Folders, until: float, pulse: Callable[[], None]) -> Mark:
    from hostler_agent import files
    from hostler_agent.machine import boot_id
    from hostler_agent.processes import Proc
    from hostler_agent.source import ArchiveSource

    job = files.load(attempt, folders)
    if job.running(Proc(), boot_id()):
        raise Refusal("job %s is still running" % attempt, "ConflictError")
    path = os.path.join(job.folder, MARK)
    told = read(path)
    if told is None:
        root = files.rooted(ArchiveSource(attempt, "", "", ""), folders)
        try:
            count, size = files.measured(root, pulse)
        finally:
            root.close()
        work = os.path.join(job.folder, "work")
        told = Mark(job.created.daemon_id, attempt, until, count, size, work)
    mark(path, told._replace(until=until))
    _drop_log(job.folder)
    return told


def _drop_log(folder: str) -> None:
    for name in os.listdir(folder):
        if name.startswith("log."):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))


class Kept(NamedTuple):
    """An ended attempt whose files stay on this host."""

    attempt_id: str
    runtime: str
    mark: Mark
    exists: bool

    def to_json(self) -> Outgoing:
        """Return it as an entry of the list."""
        told = {k: v for k, v in self.mark._asdict().items() if k != "daemon_id"}
        return {
            **told, "attempt_id": self.attempt_id, "runtime": self.runtime, "exists": self.exists,
        }  # fmt: skip


def jobs(folders: Folders, daemon_id: str) -> Iterator[Kept]:
    """Yield the process jobs of a daemon whose files stay here."""
    for name in _names(folders.jobs):
        told = read(os.path.join(folders.jobs, name, MARK))
        if told is not None and told.daemon_id == daemon_id:
            work = os.path.join(folders.jobs, name, "work")
            yield Kept(name, "process", told, os.path.isdir(work))


def containers(folders: Folders, daemon_id: str) -> Iterator[Kept]:
    """Yield the containers of a daemon whose files stay here; only Docker knows whether they still
    exist."""
    notes = notes_folder(folders)
    for name in _names(notes):
        told = read(os.path.join(notes, name)) if name.endswith(".json") else None
        if told is not None and told.daemon_id == daemon_id:
            yield Kept(name[: -len(".json")], "docker", told, True)


def listed(folders: Folders, daemon_id: str, socket: Optional[str]) -> Outgoing:
    """List all attempts of a daemon whose files stay here."""
    from hostler_agent.http import HttpError

    boxed = list(containers(folders, daemon_id))
    if boxed:
        try:
            there = _containers_there(socket)
            boxed = [one._replace(exists=one.mark.ref in there) for one in boxed]
        except HttpError:
            pass  # they count as existing until Docker says that they are gone
    every = [*jobs(folders, daemon_id), *boxed]
    return {"kept": [one.to_json() for one in every[:MOST_LISTED]]}


def _containers_there(socket: Optional[str]) -> Set[str]:
    from hostler_agent.http import Connection, HttpError, query
    from hostler_agent.inspected import ATTEMPT

    if socket is None:
        raise HttpError("Docker has no socket here")
    connection = Connection(socket, 20.0)
    try:
        there = connection.get_list(
            query("/containers/json", all="1", filters={"label": [ATTEMPT]})
        )
        return {str(item.get("Id")) for item in there}
    finally:
        connection.close()


def _names(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
