"""Notes about deployed services on this host, from which a lost database is rebuilt; at most 1,000,
of 4 MiB each."""

from __future__ import annotations

import os
from typing import Dict, List

from hostler_agent.folders import Folders, Refusal, check_attempt, write_file
from hostler_agent.json_values import Message, Outgoing

MOST_NOTE = 4 * 1024 * 1024
"""Longest note, in bytes: it must fit into a line of the protocol."""
_MOST_NOTES = 1000
"""Most notes of one daemon."""
_NOTE = ".service"


class ServiceNotes:
    """Files `runs/<daemon>/<name>.service`, one line each. The newest note replaces the one before.
    Only the daemon reads their content."""

    def __init__(self, folders: Folders) -> None:
        self._base = os.path.join(folders.base, "runs")

    def keep(self, payload: Message) -> Dict[str, bool]:
        """Store the state of a service. It is on the disk when this returns; only then does the
        daemon carry out the step that the note describes."""
        path, line = self._path(payload), payload.get("line")
        if not isinstance(line, str) or "\n" in line or len(line) > MOST_NOTE or not line.isascii():
            raise Refusal("line should be a line of ASCII, at most 4 MiB", "InputError")
        folder = os.path.dirname(path)
        os.makedirs(folder, 0o700, exist_ok=True)
        if not os.path.exists(path) and len(self._names(folder)) >= _MOST_NOTES:
            raise Refusal("there are %d notes about services already" % _MOST_NOTES, "InputError")
        write_file(path, line.encode("ascii") + b"\n", sync=True)
        return {"kept": True}

    def list(self, payload: Message) -> Outgoing:
        """List the services of a daemon that have a note."""
        folder = os.path.join(self._base, check_attempt(payload.get("daemon_id")))
        return {"services": self._names(folder)[:_MOST_NOTES]}

    def read(self, payload: Message) -> Outgoing:
        """Read the note about a service; an empty line if there is none."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path(payload), flags)
        except FileNotFoundError:
            return {"line": ""}
        with os.fdopen(descriptor, "rb") as file:
            return {"line": file.read(MOST_NOTE + 1).decode("ascii", "replace").rstrip("\n")}

    def _path(self, payload: Message) -> str:
        folder = os.path.join(self._base, check_attempt(payload.get("daemon_id")))
        return os.path.join(folder, check_attempt(payload.get("name")) + _NOTE)

    def _names(self, folder: str) -> List[str]:
        try:
            found = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name[: -len(_NOTE)] for name in found if name.endswith(_NOTE))
