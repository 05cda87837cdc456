"""Checks paths inside containers before Docker reads or writes them as root: which links, mounts
and shared folders are refused.

Docker reads and writes as root, and follows links and mounts. So each folder on the path is checked
first, and a link is refused. The check is valid only if nothing can change these folders
afterwards: in a container that does not run, outside folders that the host or other containers
share with it.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import Iterator, List, NamedTuple, Optional, Tuple

from hostler_agent.folders import Refusal, check_relative
from hostler_agent.http import Connection, HttpError, query
from hostler_agent.inspected import ATTEMPT, epoch, is_ours, labels_of, state_of
from hostler_agent.json_values import Message, tables

WORK = "/work"
CHECK_TIMEOUT = 20.0
METRICS = WORK + "/.hostler/metrics.jsonl"
_GO_LINK = 1 << 27
_GO_KINDS = 0x8F280000
"""Bits of a Go FileMode that are set for anything but a plain file."""
_GO_FOLDER = 1 << 31
_ALIVE = ("running", "paused", "restarting")


class Seen(NamedTuple):
    """The entry at a path in a container; links are not followed."""

    link: bool
    plain: bool
    size: int
    mtime: float
    folder: bool = False


def opened(
    path: Optional[str], ref: str, attempt_id: str, timeout: float
) -> Tuple[Connection, Message]:
    """A connection to the socket at `path`, and the inspected container, which must be the
    attempt's. Raises Refusal, HttpError."""
    if not ref.isalnum():
        raise Refusal("%r is not a container id" % ref, "InputError")
    if path is None:
        raise Refusal("Docker has no socket here", "EngineError")
    connection = Connection(path, timeout)
    try:
        found = connection.get("/containers/%s/json" % ref)
        if labels_of(found).get(ATTEMPT) != attempt_id or not is_ours(found):
            raise Refusal("container %s is not of this attempt" % ref, "ForbiddenError")
    except BaseException:
        connection.close()
        raise
    return connection, found


def is_alive(found: Message) -> bool:
    """Whether something in the inspected container may still run."""
    return state_of(found).get("Status") in _ALIVE


def place(path: str) -> str:
    """Return the absolute path of a path relative to the working folder."""
    # The start folder of the command may differ: a stage may have its own `workdir`.
    relative = check_relative(path)
    return os.path.join(WORK, relative) if relative else WORK


def archive(ref: str, path: str) -> str:
    """The address of Docker's archive call for a path."""
    return query("/containers/%s/archive" % ref, path=path)


def check_way(connection: Connection, ref: str, path: str) -> None:
    """Raise Refusal if a folder above `path` is a link, HttpError if it is missing."""
    for folder in _above(path):
        _check_folder(connection, ref, folder)


def check_binds(connection: Connection, ref: str, found: Message) -> None:
    """Raise Refusal if a link of the image moves a mounted folder to another place in the
    container: Docker mounts it there, and the agent would treat it as the stage's own files."""
    # Most mounts are in the same folder. Each check costs dockerd as much as mounting all of them,
    # so duplicates are left out.
    ways = [folder for mount in _mounted(found, "bind") for folder in _above(mount + "/.")]
    for folder in dict.fromkeys(ways):
        _check_folder(connection, ref, folder)


def check_unshared(connection: Connection, found: Message, path: str) -> None:
    """Raise Refusal if the entry at `path` may change while Docker reads it as root."""
    binds = _mounted(found, "bind")
    for mount in binds:
        if _covers(mount, path) or _covers(path, mount):
            text = "%s is a folder of the host: Docker would read it as root"
            raise Refusal(text % mount, "ForbiddenError")
    for mount, name in _volumes(found):
        if binds and (_covers(mount, path) or _covers(path, mount)):
            _check_unused(connection, mount, name)


def check(path: Optional[str], ref: str, attempt_id: str) -> None:
    """Raise Refusal if a link would lead the placed files into a folder of the host."""
    try:
        connection, found = opened(path, ref, attempt_id, CHECK_TIMEOUT)
        try:
            check_binds(connection, ref, found)
        finally:
            connection.close()
    except HttpError as error:
        raise Refusal("the container cannot be inspected: %s" % error, "EngineError") from error


def _check_folder(connection: Connection, ref: str, folder: str) -> None:
    if look(connection, ref, folder).link:
        text = "%s is a link in the container, and Docker would follow it as root"
        raise Refusal(text % folder, "ForbiddenError")


def _check_unused(connection: Connection, mount: str, volume: str) -> None:
    where = query("/containers/json", filters={"volume": [volume], "status": list(_ALIVE)})
    if connection.get_list(where):
        text = "%s is in use by another container, which may change it"
        raise Refusal(text % mount, "ForbiddenError")


def look(connection: Connection, ref: str, path: str) -> Seen:
    """The entry at a path. Raises HttpError, with Docker's own message if nothing exists."""
    try:
        headers = connection.head(archive(ref, path))
    except HttpError as error:
        if error.status == 404:  # Docker's answer has no body with a message
            text = "Could not find the file %s in container %s" % (path, ref)
            raise HttpError(text, 404) from error
        raise
    try:
        told = json.loads(base64.b64decode(headers["x-docker-container-path-stat"]))
        mode, size, leads = int(told["mode"]), int(told["size"]), told.get("linkTarget") or ""
        mtime = epoch(told.get("mtime")) or 0.0
    except (KeyError, ValueError, TypeError) as error:
        raise HttpError("Docker does not say what %s is" % path) from error
    # For a path without a link, Podman returns the path itself.
    link = bool(mode & _GO_LINK) or os.path.normpath(leads or path) != path
    folder = not link and bool(mode & _GO_FOLDER)
    return Seen(link, not link and not mode & _GO_KINDS, size, mtime, folder)


def is_guarded(found: Message) -> bool:
    """Whether the stage cannot replace the folder of its metrics file: it is a separate mount, and
    root's. Containers of earlier versions and of Podman have no such mount."""
    return os.path.dirname(METRICS) in [mount for mount, _ in _volumes(found)]


def serves_itself(connection: Connection) -> bool:
    """Whether Docker runs as this login, with no more rights than the login."""
    peer = connection.peer()
    return len(peer) == 12 and int.from_bytes(peer[4:8], sys.byteorder) == os.getuid()


def has_binds(found: Message) -> bool:
    """Whether folders of the host are visible inside."""
    return bool(_mounted(found, "bind"))


def mounts_below(found: Message, folder: str) -> List[str]:
    """Paths relative to a folder in the container where something is mounted."""
    mounts = [os.path.normpath(str(mount.get("Destination"))) for mount in _mounts(found)]
    prefix = folder.rstrip("/") + "/"
    return [mount[len(prefix) :] for mount in mounts if mount.startswith(prefix)]


def _above(path: str) -> Iterator[str]:
    parts = path.split("/")[1:-1]
    for count in range(1, len(parts) + 1):
        yield "/" + "/".join(parts[:count])


def _mounts(found: Message) -> List[Message]:
    return tables(found.get("Mounts"))


def _mounted(found: Message, kind: str) -> List[str]:
    mounts = [mount for mount in _mounts(found) if mount.get("Type") == kind]
    return [os.path.normpath(str(mount.get("Destination"))) for mount in mounts]


def _volumes(found: Message) -> List[Tuple[str, str]]:
    return [
        (os.path.normpath(str(mount.get("Destination"))), str(mount.get("Name")))
        for mount in _mounts(found)
        if mount.get("Type") == "volume"
    ]


def _covers(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
