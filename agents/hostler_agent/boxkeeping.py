"""The note that lets an ended container stay on this host."""

from __future__ import annotations

import os
from typing import Any, Dict

from hostler_agent import inside, keeping
from hostler_agent.folders import Folders, Refusal, check_attempt
from hostler_agent.http import Connection, HttpError

_TIMEOUT = 600.0
"""Docker adds up all that the container has written."""


def keep(mode: Dict[str, Any], folders: Folders, until: float) -> Dict[str, Any]:
    """Note it: its files, bytes, and where they lie. Again: only the time changes. Raises Refusal,
    HttpError."""
    from hostler_agent.containers import socket_path

    attempt, ref = check_attempt(mode.get("attempt_id")), str(mode.get("ref"))
    connection, found = inside.opened(socket_path(), ref, attempt, _TIMEOUT)
    try:
        if inside.is_alive(found):
            raise Refusal("the container still runs", "ConflictError")
        folder = keeping.notes_folder(folders)
        os.makedirs(folder, 0o700, exist_ok=True)
        path = os.path.join(folder, attempt + ".json")
        told = keeping.read(path) or _measured(connection, ref, found)
    finally:
        connection.close()
    keeping.mark(path, {**told, "until": until})
    return {"files": told["files"], "bytes": told["bytes"], "path": told["path"]}


def _measured(connection: Connection, ref: str, found: Dict[str, Any]) -> Dict[str, Any]:
    size = connection.get("/containers/%s/json?size=1" % ref).get("SizeRw")
    labels = (found.get("Config") or {}).get("Labels") or {}
    name = str(found.get("Name") or "").lstrip("/")
    return {
        "daemon_id": labels.get("hostler.daemon", ""), "ref": ref,
        "files": _count(connection, ref), "path": "container %s, %s" % (name, inside.WORK),
        "bytes": max(0, size) if isinstance(size, int) else 0,
    }  # fmt: skip


def _count(connection: Connection, ref: str) -> int:
    """Files that it has written into its working folder, about: Docker does not tell files from
    empty folders."""
    try:
        told = connection.get("/containers/%s/changes" % ref) or ()
    except HttpError as error:
        if error.status:
            return 0
        raise
    paths = {str(item.get("Path")) for item in told if isinstance(item, dict)}
    below = {path for path in paths if path.startswith(inside.WORK + "/")}
    return len(below - {os.path.dirname(path) for path in below})
