"""Bulk transfers, each in an agent of its own: blobs in, archives and logs out."""

from __future__ import annotations

import os
import select
from typing import Callable, Dict, Iterator, Tuple

from hostler_agent import archive, inside, journal, wire
from hostler_agent.blobs import Incoming
from hostler_agent.fields import text, whole
from hostler_agent.folders import Folders, Refusal
from hostler_agent.http import Connection, HttpError, socket_path
from hostler_agent.inspected import state_of
from hostler_agent.joblog import Reader
from hostler_agent.jobs import Jobs
from hostler_agent.json_values import Message, table
from hostler_agent.machine import boot_id
from hostler_agent.ownership import owned
from hostler_agent.processes import Proc
from hostler_agent.sending import Pulse, frames, send, send_data
from hostler_agent.source import ArchiveSource, source_of

_POLL = 0.05
_DOCKER_TIMEOUT = 600.0
_NO_ANSWER = 503
"""As the status of a Docker that gave none: it may be there again in a moment."""


def run(mode: Message, folders: Folders) -> None:
    """One transfer as the mode line says; errors go out as a frame."""
    folders.make()
    folders.hold()
    operations: Dict[str, Callable[[Message, Folders], None]] = {
        "blob.put": _put, "place": _place, "archive": _archive, "log": _log,
        "list": _files("listed"), "changes": _files("changed"), "read": _files("read"),
        "keep": _files("keep"), "image.load": _load_image,
    }  # fmt: skip
    try:
        operation = operations.get(str(mode.get("op")))
        if operation is None:
            raise Refusal("there is no transfer %r" % mode.get("op"), "InputError")
        operation(mode, folders)
    except Refusal as refusal:
        _fail(refusal.kind, str(refusal))
    except HttpError as error:
        _fail("EngineError", str(error), error.status or _NO_ANSWER)
    except BrokenPipeError:
        pass  # the other side has gone; what came so far is kept
    except OSError as error:
        _fail("AgentError", "%s: %s" % (error.filename or "transfer", error.strerror or error))


def _files(name: str) -> Callable[[Message, Folders], None]:
    def operation(mode: Message, folders: Folders) -> None:
        from hostler_agent import transfers  # few need it

        getattr(transfers, name)(mode, folders)

    return operation


def _load_image(mode: Message, folders: Folders) -> None:
    from hostler_agent import images  # few need it

    images.load(frames(), folders, Connection(images.socket_to_use(), _DOCKER_TIMEOUT))


def _fail(kind: str, message: str, status: int = 0) -> None:
    send(wire.json_frame({"error": {"kind": kind, "message": message, "status": status}}))


def _put(mode: Message, folders: Folders) -> None:
    incoming = Incoming(folders, text(mode, "digest"), whole(mode, "size", -1))
    send(wire.json_frame({"offset": incoming.offset}))
    try:
        for item in frames():
            if item is None:
                break
            if isinstance(item, bytes):
                incoming.write(item)
        incoming.finish()
    finally:
        incoming.close()
    send(wire.json_frame({"ok": True}))


def _place(mode: Message, folders: Folders) -> None:
    source, digest = source_of(mode), text(mode, "digest")
    if source.is_container:
        _place_docker(source, folders.blob(digest))
    else:
        jobs = Jobs(folders, boot_id(), None, dict)
        jobs.place(source.attempt_id, digest, source.path)
    send(wire.json_frame({"ok": True}))


def _place_docker(source: ArchiveSource, blob: str) -> None:
    """Put the blob into a container that is the attempt's and has never run; nothing else."""
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
    return inside.opened(socket_path(), source.ref, source.attempt_id, _DOCKER_TIMEOUT)


def _owned(found: Message, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The blob's entries as the container's user's, where it is a plain "uid:gid"."""
    uid, _, gid = str(table(found.get("Config")).get("User") or "").partition(":")
    if not uid.isdigit() or not (gid or uid).isdigit():
        return pieces
    return owned(pieces, int(uid), int(gid or uid))


def _archive(mode: Message, folders: Folders) -> None:
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
    """The tar of a folder of a container that has ended; links cannot lead it elsewhere."""
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


def _log(mode: Message, folders: Folders) -> None:
    attempt = text(mode, "attempt_id")
    folder = folders.job(attempt)
    offset, follow = whole(mode, "offset"), bool(mode.get("follow"))
    boot, proc = boot_id(), Proc()
    reader = Reader(folder, offset)
    expected = -1
    try:
        while True:
            job = journal.load(folder)
            if job is None:
                raise Refusal("there is no job %s here" % attempt, "NotFoundError")
            # Whether it is over is seen first: what is read after that is all of it.
            over = not follow or (job.started is not None and not job.running(proc, boot))
            for at, data in reader.pieces():
                if at != expected:
                    send(wire.json_frame({"offset": at}))
                send_data(data)
                expected = at + len(data)
            if over:
                break
            if _gone(_POLL):
                return
    finally:
        reader.close()
    send(wire.json_frame({"end": True, "offset": reader.offset}))
    send(wire.END)


def _gone(seconds: float) -> bool:
    """Wait; True when the other side has closed or sent anything (nothing is due)."""
    readable, _, _ = select.select([0], [], [], seconds)
    return bool(readable) and not os.read(0, 4096)
