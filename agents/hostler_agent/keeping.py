"""What ended attempts leave on this host and keeps lying there: a mark beside a job's journal, a
note for a container. Looks count them; `kept.list` names them."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Set

from hostler_agent.folders import Folders, Refusal, check_attempt, write_file

MARK = "kept"
_MOST = 16 * 1024
_TICK = 10**9
MOST_LISTED = 10_000


def read(path: str) -> Optional[Dict[str, Any]]:
    """A mark or note; None: there is none that can be read. The job can put anything there."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            told = json.loads(file.read(_MOST))
        return {
            "daemon_id": str(told["daemon_id"]), "ref": str(told["ref"]),
            "until": float(told["until"]), "files": max(0, int(told["files"])),
            "bytes": max(0, int(told["bytes"])), "path": str(told["path"]),
        }  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def mark(path: str, told: Dict[str, Any]) -> None:
    """Write one."""
    write_file(path, json.dumps(told).encode("ascii"), sync=True)


def notes_folder(folders: Folders) -> str:
    """Where the notes about containers lie."""
    return os.path.join(folders.base, "kept")


class Notes:
    """The notes about containers, for every look: read anew when something has changed."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._stamp = -1
        self._known: Dict[str, Dict[str, Any]] = {}

    def by_ref(self) -> Dict[str, Dict[str, Any]]:
        """Container id -> its note."""
        try:
            stamp = os.stat(self._folder).st_mtime_ns
        except OSError:
            return {}
        # What is written within a tick of the clock leaves the same stamp.
        if stamp != self._stamp or time.time_ns() - stamp < _TICK:
            self._stamp = stamp
            paths = [os.path.join(self._folder, name) for name in _names(self._folder)]
            found = [read(path) for path in paths if path.endswith(".json")]
            self._known = {told["ref"]: told for told in found if told is not None}
        return self._known

    def forget(self, attempt: Any) -> None:
        """Its container has been removed."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._folder, check_attempt(attempt) + ".json"))


def total(marks: Iterable[Dict[str, Any]], daemon_id: str) -> List[int]:
    """How many are of a daemon, and their bytes."""
    own = [told["bytes"] for told in marks if told["daemon_id"] == daemon_id]
    return [len(own), min(sum(own), 2**62)]


def keep(
    mode: Dict[str, Any], folders: Folders, until: float, pulse: Callable[[], None]
) -> Dict[str, Any]:
    """Mark a job that has ended to stay: its files, bytes, and where they lie. Again: only
    the time changes. Raises Refusal."""
    attempt = check_attempt(mode.get("attempt_id"))
    told = _job(attempt, folders, until, pulse)
    from hostler_agent.shim import notify

    notify(folders.notify, attempt)  # agents that serve look at its journal again
    return told


def _job(attempt: str, folders: Folders, until: float, pulse: Callable[[], None]) -> Dict[str, Any]:
    from hostler_agent import files
    from hostler_agent.machine import boot_id
    from hostler_agent.processes import Proc

    job = files.load(attempt, folders)
    if job.running(Proc(), boot_id()):
        raise Refusal("job %s is still running" % attempt, "ConflictError")
    path = os.path.join(job.folder, MARK)
    told = read(path)
    if told is None:
        root = files.rooted({"attempt_id": attempt}, folders)
        try:
            count, size = files.measured(root, pulse)
        finally:
            root.close()
        told = {
            "daemon_id": job.created.get("daemon_id", ""), "ref": attempt, "files": count,
            "bytes": size, "path": os.path.join(job.folder, "work"),
        }  # fmt: skip
    mark(path, {**told, "until": until})
    _drop_log(job.folder)
    return {"files": told["files"], "bytes": told["bytes"], "path": told["path"]}


def _drop_log(folder: str) -> None:
    for name in os.listdir(folder):
        if name.startswith("log."):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))


def jobs(folders: Folders, daemon_id: str) -> Iterator[Dict[str, Any]]:
    """What of a daemon's process jobs is kept here."""
    for name in _names(folders.jobs):
        told = read(os.path.join(folders.jobs, name, MARK))
        if told is not None and told["daemon_id"] == daemon_id:
            work = os.path.join(folders.jobs, name, "work")
            yield _told(name, "process", told, os.path.isdir(work))


def containers(folders: Folders, daemon_id: str) -> Iterator[Dict[str, Any]]:
    """What of its containers is; whether they exist has to be asked of Docker."""
    notes = notes_folder(folders)
    for name in _names(notes):
        told = read(os.path.join(notes, name)) if name.endswith(".json") else None
        if told is not None and told["daemon_id"] == daemon_id:
            yield _told(name[: -len(".json")], "docker", told, True)


def listed(folders: Folders, daemon_id: Any, socket: Optional[str]) -> Dict[str, Any]:
    """All that of a daemon's is kept here."""
    from hostler_agent.http import HttpError

    daemon = str(daemon_id)
    boxed = list(containers(folders, daemon))
    if boxed:
        try:
            there = _containers_there(socket)
            boxed = [{**told, "exists": told["ref"] in there} for told in boxed]
        except HttpError:
            pass  # as long as Docker does not say that they are gone they are there
    return {"kept": (list(jobs(folders, daemon)) + boxed)[:MOST_LISTED]}


def _containers_there(socket: Optional[str]) -> Set[str]:
    from hostler_agent.http import Connection, HttpError, query
    from hostler_agent.inspected import ATTEMPT

    if socket is None:
        raise HttpError("Docker has no socket here")
    connection = Connection(socket, 20.0)
    try:
        told = connection.get(query("/containers/json", all="1", filters={"label": [ATTEMPT]}))
        return {str(item.get("Id")) for item in told if isinstance(item, dict)}
    finally:
        connection.close()


def _told(attempt: str, runtime: str, told: Dict[str, Any], exists: bool) -> Dict[str, Any]:
    more = {"attempt_id": attempt, "runtime": runtime, "exists": exists}
    return {**{key: value for key, value in told.items() if key != "daemon_id"}, **more}


def _names(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
