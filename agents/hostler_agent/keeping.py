"""What ended attempts leave on this host and keeps lying there: a mark beside a job's journal, a
note for a container. Looks count them; `kept.list` names them."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from typing import Any, Callable, Dict, Iterator, List, Optional

from hostler_agent.folders import Folders, Refusal, check_attempt, write_file

MARK = "kept"
_MOST = 16 * 1024


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
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None


def mark(path: str, told: Dict[str, Any]) -> None:
    """Write one."""
    write_file(path, json.dumps(told).encode("ascii"), sync=True)


def notes_folder(folders: Folders) -> str:
    """Where the notes about containers lie."""
    return os.path.join(folders.base, "kept")


def keep(
    mode: Dict[str, Any], folders: Folders, until: float, pulse: Callable[[], None]
) -> Dict[str, Any]:
    """Mark a workload that has ended to stay: its files, bytes, and where they lie. Again: only
    the time changes. Raises Refusal."""
    if mode.get("runtime") == "docker":
        raise Refusal("this agent keeps no containers", "EngineError")
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


def _told(attempt: str, runtime: str, told: Dict[str, Any], exists: bool) -> Dict[str, Any]:
    more = {"attempt_id": attempt, "runtime": runtime, "exists": exists}
    return {**{key: value for key, value in told.items() if key != "daemon_id"}, **more}


def _names(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
