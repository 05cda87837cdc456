"""Bulk transfers of whole folders: code into a job's folder or a container that has not started,
and tars out of them."""

from __future__ import annotations

import os
from typing import Iterator, Tuple

from hostler_agent import archive, inside, wire
from hostler_agent.fields import text, whole
from hostler_agent.folders import Folders, Refusal
from hostler_agent.http import DOCKER_TIMEOUT, Connection, socket_path
from hostler_agent.inspected import state_of
from hostler_agent.json_values import Message, table
from hostler_agent.machine import boot_id
from hostler_agent.ownership import owned
from hostler_agent.sending import Pulse, send, send_data
from hostler_agent.source import ArchiveSource, source_of


def place(mode: Message, folders: Folders) -> None:
    """Put code from the cache into the folder where an attempt will run."""
    source, digest = source_of(mode), text(mode, "digest")
    if source.is_container:
        _place_docker(source, folders.blob(digest))
    else:
        from hostler_agent.jobs import Jobs  # loads all modules that start jobs

        jobs = Jobs(folders, boot_id(), None, dict)
        jobs.place(source.attempt_id, digest, source.path)
    send(wire.json_frame({"ok": True}))


def _place_docker(source: ArchiveSource, blob: str) -> None:
    """Put the blob into a container, if this is the attempt's container and has never run."""
    connection, found = _container(source)
    try:
        if state_of(found).get("Status") != "created":
            raise Refusal("the container has been started already", "ConflictError")
        size = os.stat(blob).st_size
        os.utime(blob)
        ref, target = source.ref, inside.place(source.path)
        inside.check_binds(connection, ref, found)
        inside.check_way(connection, ref, target + "/.")
        path = inside.archive(ref, target)
        for _ in connection.stream("PUT", path, size, _owned(found, _pieces(blob, size))):
            pass  # the answer's body is empty
    finally:
        connection.close()


def _pieces(path: str, size: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while size:
            piece = file.read(min(size, 256 * 1024))
            if not piece:
                raise Refusal("the cached blob is shorter than it was")
            size -= len(piece)
            yield piece


def _container(source: ArchiveSource) -> Tuple[Connection, Message]:
    return inside.opened(socket_path(), source.ref, source.attempt_id, DOCKER_TIMEOUT)


def _owned(found: Message, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the blob, with all entries owned by the container's user if that is a plain
    "uid:gid"."""
    uid, _, gid = str(table(found.get("Config")).get("User") or "").partition(":")
    if not uid.isdigit() or not (gid or uid).isdigit():
        return pieces
    return owned(pieces, int(uid), int(gid or uid))


def archived(mode: Message, folders: Folders) -> None:
    """Send a folder, or chosen files, as a tar from a byte offset on."""
    offset = whole(mode, "offset")
    if mode.get("chosen") is True:
        from hostler_agent import transfers

        sent = archive.Skipped(transfers.chosen(mode, folders), offset, Pulse())
    else:
        sent = archive.Skipped(_tar(source_of(mode), folders), offset, Pulse())
    for piece in sent:
        send_data(piece)
    send(wire.json_frame({"sha256": sent.sha256, "size": sent.size}))
    send(wire.END)


def _tar(source: ArchiveSource, folders: Folders) -> Iterator[bytes]:
    if source.is_container:
        yield from _from_container(source)
        return
    from hostler_agent import beneath, files

    root = files.rooted(source, folders)
    try:
        path = beneath.as_bytes(source.path)
        step = root.step(path)
        try:
            yield from archive.stream(step, os.fsdecode(os.path.basename(path)))
        finally:
            os.close(step)
    finally:
        root.close()


def _from_container(source: ArchiveSource) -> Iterator[bytes]:
    """Yield the tar of a folder of an ended container, after a check that no link leads out of
    it."""
    ref, path = source.ref, inside.place(source.path)
    connection, found = _container(source)
    try:
        if inside.is_alive(found):
            raise Refusal("the container still runs", "ConflictError")
        inside.check_binds(connection, ref, found)
        inside.check_way(connection, ref, path)
        inside.check_unshared(connection, found, path)
        yield from connection.stream("GET", inside.archive(ref, path))
        inside.check_unshared(connection, found, path)
    finally:
        connection.close()
