"""Starts a bulk transfer, each in a separate agent, which loads only the modules for its kind of
transfer."""

from __future__ import annotations

from typing import Callable, Dict, Iterator

from hostler_agent import wire
from hostler_agent.fields import text, whole
from hostler_agent.folders import Folders, Refusal
from hostler_agent.http import DOCKER_TIMEOUT, Connection, HttpError
from hostler_agent.json_values import Message, tables
from hostler_agent.sending import Pulse, frames, send

_NO_ANSWER = 503
"""The HTTP status if Docker did not answer: it may be available again soon."""


def run(mode: Message, folders: Folders) -> None:
    """Make the one transfer that the mode line describes. Errors are sent as a frame."""
    folders.make()
    folders.hold()
    operations: Dict[str, Callable[[Message, Folders], None]] = {
        "blob.put": _put, "log": _log, "place": _wholes("place"), "archive": _wholes("archived"),
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
        pass  # the other side has closed; received data stays
    except OSError as error:
        _fail("AgentError", "%s: %s" % (error.filename or "transfer", error.strerror or error))


def _files(name: str) -> Callable[[Message, Folders], None]:
    def operation(mode: Message, folders: Folders) -> None:
        from hostler_agent import transfers

        getattr(transfers, name)(mode, folders)

    return operation


def _wholes(name: str) -> Callable[[Message, Folders], None]:
    def operation(mode: Message, folders: Folders) -> None:
        from hostler_agent import wholes

        getattr(wholes, name)(mode, folders)

    return operation


def _log(mode: Message, folders: Folders) -> None:
    from hostler_agent import logsending

    logsending.log(mode, folders)


def _load_image(mode: Message, folders: Folders) -> None:
    """Receive the blobs that the host lacks, one after the other, then load the image."""
    from hostler_agent import images

    came = frames()
    for blob in tables(mode.get("blobs")):
        _take(blob, folders, came)
    # Docker sends nothing while it unpacks layers, which can take minutes.
    images.load(came, folders, Connection(images.socket_to_use(), DOCKER_TIMEOUT, Pulse()))


def _fail(kind: str, message: str, status: int = 0) -> None:
    send(wire.json_frame({"error": {"kind": kind, "message": message, "status": status}}))


def _put(mode: Message, folders: Folders) -> None:
    _take(mode, folders, frames())


def _take(blob: Message, folders: Folders, came: Iterator[wire.Frame]) -> None:
    from hostler_agent.blobs import Incoming

    incoming = Incoming(folders, text(blob, "digest"), whole(blob, "size", -1))
    send(wire.json_frame({"offset": incoming.offset}))
    try:
        for item in came:
            if item is None:
                break
            if isinstance(item, bytes):
                incoming.write(item)
        incoming.finish()
    finally:
        incoming.close()
    send(wire.json_frame({"ok": True}))
