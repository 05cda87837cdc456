"""Writes the note that keeps an ended container and its files on this host; `keeping` marks process
jobs and lists all that is kept."""

from __future__ import annotations

import os

from hostler_agent import inside, keeping
from hostler_agent.folders import Folders, Refusal, check_attempt
from hostler_agent.http import Connection, HttpError, socket_path
from hostler_agent.inspected import DAEMON, labels_of
from hostler_agent.json_values import Message
from hostler_agent.keeping import Mark
from hostler_agent.source import ArchiveSource

_TIMEOUT = 600.0
"""Seconds: Docker adds up the sizes of all files that the container has written."""


def keep(source: ArchiveSource, folders: Folders, until: float) -> Mark:
    """Note that an ended container stays until `until`, with the number, bytes and place of its
    files. If there is a note already, only its time changes. Raises Refusal, HttpError."""
    attempt, ref = check_attempt(source.attempt_id), source.ref
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
    keeping.mark(path, told._replace(until=until))
    return told


def _measured(connection: Connection, ref: str, found: Message) -> Mark:
    size = connection.get("/containers/%s/json?size=1" % ref).get("SizeRw")
    name = str(found.get("Name") or "").lstrip("/")
    return Mark(
        str(labels_of(found).get(DAEMON, "")), ref, 0.0, _count(connection, ref),
        max(0, size) if isinstance(size, int) else 0,
        "container %s, %s" % (name, inside.WORK),
    )  # fmt: skip


def _count(connection: Connection, ref: str) -> int:
    """About how many files the container has written into its working folder: Docker does not
    distinguish files from empty folders."""
    try:
        told = connection.get_list("/containers/%s/changes" % ref)
    except HttpError as error:
        if error.status:
            return 0
        raise
    paths = {str(item.get("Path")) for item in told}
    below = {path for path in paths if path.startswith(inside.WORK + "/")}
    return len(below - {os.path.dirname(path) for path in below})
