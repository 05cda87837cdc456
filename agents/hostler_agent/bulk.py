"""Transfers of bytes, each in an agent of its own: blobs in, archives and logs out."""

from __future__ import annotations

import os
import select
from typing import Any, Callable, Dict, Iterator, Tuple

from hostler_agent import archive, inside, journal, wire
from hostler_agent.blobs import Incoming
from hostler_agent.folders import Folders, Refusal
from hostler_agent.http import Connection, HttpError
from hostler_agent.joblog import Reader
from hostler_agent.jobs import Jobs
from hostler_agent.machine import boot_id
from hostler_agent.ownership import owned
from hostler_agent.processes import Proc
from hostler_agent.sending import Pulse, frames, send, send_data

_POLL = 0.05
_DOCKER_TIMEOUT = 600.0
_NO_ANSWER = 503
"""As the status of a Docker that gave none: it may be there again in a moment."""


def run(mode: Dict[str, Any], folders: Folders) -> None:
    """One transfer as the mode line says; errors go out as a frame."""
    folders.make()
    folders.hold()
    operations: Dict[str, Callable[[Dict[str, Any], Folders], None]] = {
        "blob.put": _put, "place": _place, "archive": _archive, "log": _log,
        "list": _files("listed"), "changes": _files("changed"), "read": _files("read"),
        "keep": _files("keep"),
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


def _files(name: str) -> Callable[[Dict[str, Any], Folders], None]:
    def operation(mode: Dict[str, Any], folders: Folders) -> None:
        from hostler_agent import transfers  # few need it

        getattr(transfers, name)(mode, folders)

    return operation


def _fail(kind: str, message: str, status: int = 0) -> None:
    send(wire.json_frame({"error": {"kind": kind, "message": message, "status": status}}))


def _put(mode: Dict[str, Any], folders: Folders) -> None:
    total = mode.get("size")
    if not isinstance(total, int) or total < 0:
        raise Refusal("a blob needs its size", "InputError")
    incoming = Incoming(folders, str(mode.get("digest")), total)
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


def _place(mode: Dict[str, Any], folders: Folders) -> None:
    if mode.get("runtime") == "docker":
        _place_docker(mode, folders)
    else:
        jobs = Jobs(folders, boot_id(), None, dict)
        jobs.place(
            str(mode.get("attempt_id")), str(mode.get("digest")), str(mode.get("path") or "")
        )
    send(wire.json_frame({"ok": True}))


def _place_docker(mode: Dict[str, Any], folders: Folders) -> None:
    """Put the blob into a container that is the attempt's and has never run; nothing else."""
    blob = folders.blob(str(mode.get("digest")))
    connection, found = _container(mode)
    try:
        if (found.get("State") or {}).get("Status") != "created":
            raise Refusal("the container has been started already", "ConflictError")
        size = os.stat(blob).st_size
        os.utime(blob)
        ref, target = str(mode.get("ref")), inside.place(mode.get("path"))
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


def _container(mode: Dict[str, Any]) -> Tuple[Connection, Dict[str, Any]]:
    from hostler_agent.containers import socket_path

    ref, attempt = str(mode.get("ref")), mode.get("attempt_id")
    return inside.opened(socket_path(), ref, attempt, _DOCKER_TIMEOUT)


def _owned(found: Dict[str, Any], pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The blob's entries as the container's user's, where it is a plain "uid:gid"."""
    uid, _, gid = str((found.get("Config") or {}).get("User") or "").partition(":")
    if not uid.isdigit() or not (gid or uid).isdigit():
        return pieces
    return owned(pieces, int(uid), int(gid or uid))


def _archive(mode: Dict[str, Any], folders: Folders) -> None:
    offset = mode.get("offset") or 0
    if not isinstance(offset, int) or offset < 0:
        raise Refusal("an offset should be a number, not negative", "InputError")
    if mode.get("chosen") is True:
        from hostler_agent import transfers

        sent = archive.Skipped(transfers.chosen(mode, folders), offset, Pulse())
    else:
        sent = archive.Skipped(_tar(mode, folders), offset, Pulse())
    for piece in sent:
        send_data(piece)
    send(wire.json_frame({"sha256": sent.sha256, "size": sent.size}))
    send(wire.END)


def _tar(mode: Dict[str, Any], folders: Folders) -> Iterator[bytes]:
    if mode.get("runtime") == "docker":
        yield from _from_container(mode)
        return
    from hostler_agent import beneath, files

    root = files.rooted(mode, folders)
    try:
        path = beneath.as_bytes(mode.get("path"))
        step = root.step(path)
        try:
            yield from archive.stream(step, os.fsdecode(os.path.basename(path)))
        finally:
            os.close(step)
    finally:
        root.close()


def _from_container(mode: Dict[str, Any]) -> Iterator[bytes]:
    """The tar of a folder of a container that has ended, and that nobody leads elsewhere."""
    ref, path = str(mode.get("ref")), inside.place(mode.get("path"))
    connection, found = _container(mode)
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


def _log(mode: Dict[str, Any], folders: Folders) -> None:
    folder = folders.job(str(mode.get("attempt_id")))
    offset, follow = mode.get("offset") or 0, bool(mode.get("follow"))
    if not isinstance(offset, int) or offset < 0:
        raise Refusal("an offset should be a number, not negative", "InputError")
    boot, proc = boot_id(), Proc()
    reader = Reader(folder, offset)
    expected = -1
    try:
        while True:
            job = journal.load(folder)
            if job is None:
                raise Refusal("there is no job %s here" % mode.get("attempt_id"), "NotFoundError")
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
