"""File transfers of bulk agents: lists, changes, single files, chosen files as a tar, keep marks;
`wholes` transfers whole folders."""

from __future__ import annotations

import os
import threading
from typing import Callable, Dict, Iterator, List

from hostler_agent import beneath, files, left_out, wire
from hostler_agent.digests import new_sha256
from hostler_agent.fields import optional_number, texts, whole
from hostler_agent.files import Entry, Wanted
from hostler_agent.folders import Folders, Refusal, check_attempt, check_relative
from hostler_agent.json_values import Message, Outgoing
from hostler_agent.sending import Pulse, frames, send, send_data
from hostler_agent.source import source_of

_BATCH = 2000
_BATCH_SIZE = 256 * 1024


def listed(mode: Message, folders: Folders) -> None:
    """Send the entries at a path of a workload."""
    _end_with_the_other_side()
    source, recursive = source_of(mode), mode.get("recursive") is True
    path = beneath.as_bytes(source.path)
    if source.is_boxed:
        from hostler_agent import boxlists

        entries, truncated = boxlists.listed(source, path, recursive, _pulse)
    else:
        root = files.rooted(source, folders)
        try:
            entries, truncated = files.listed(root, path, recursive, _pulse)
        finally:
            root.close()
    _tell(entries, {"truncated": truncated})


def changed(mode: Message, folders: Folders) -> None:
    """Send new and changed files in the folder of an ended workload."""
    source, wanted = source_of(mode), _wanted(mode)
    _end_with_the_other_side()
    if source.is_boxed:
        from hostler_agent import boxchanges

        found = boxchanges.changes(source, wanted, folders, _pulse)
        _tell(found.sorted(), _end(found.left_out, found.truncated))
        return
    there = files.changes(source, wanted, folders, _pulse)
    _tell(there.entries.sorted(), _end(there.walk.left_out, there.walk.truncated))


def read(mode: Message, folders: Folders) -> None:
    """Send the bytes of one plain file, as many as it has now."""
    offset, source = whole(mode, "offset"), source_of(mode)
    path = beneath.as_bytes(source.path)
    _end_with_the_other_side()
    if source.is_boxed:
        from hostler_agent import boxlists

        size, mtime, pieces = boxlists.opened(source, path)
        _send_file(size, mtime, pieces, offset)
        return
    root = files.rooted(source, folders)
    descriptor = files.opened(root, path)
    status = os.fstat(descriptor)
    pieces = files.pieces(descriptor, status.st_size, path)

    def check(sha256: str) -> None:
        files.require_steady(descriptor, status, path, sha256, Pulse())

    _send_file(status.st_size, status.st_mtime, pieces, offset, check)


def _send_file(
    size: int, mtime: float, pieces: Iterator[bytes], offset: int,
    check: Callable[[str], None] = lambda _sha256: None,
) -> None:  # fmt: skip
    send(wire.json_frame({"size": size, "mtime": mtime}))
    digest, at, pulse = new_sha256(), 0, Pulse()
    for piece in pieces:
        digest.update(piece)
        wanted = piece[max(0, offset - at) :]
        send_data(wanted)
        if not wanted:
            pulse()
        at += len(piece)
    check(digest.hexdigest())
    send(wire.json_frame({"sha256": digest.hexdigest()}))
    send(wire.END)


def chosen(mode: Message, folders: Folders) -> Iterator[bytes]:
    """Yield a tar of the files whose paths come in frames."""
    source, paths = source_of(mode), sorted(set(_paths()))
    _end_with_the_other_side()
    below = beneath.as_bytes(source.path)
    if source.is_boxed:
        from hostler_agent import boxchanges

        yield from boxchanges.chosen_tar(source, below, paths, _pulse)
        return
    from hostler_agent import chosenfiles

    root = files.rooted(source, folders)
    try:
        yield from chosenfiles.chosen_tar(root, below, paths)
    finally:
        root.close()


def keep(mode: Message, folders: Folders) -> None:
    """Mark an ended workload so that it stays."""
    until, source = optional_number(mode, "until"), source_of(mode)
    if until is None:
        raise Refusal("until should be a time", "InputError")
    from hostler_agent import boxkeeping, keeping

    if source.is_container:
        told = boxkeeping.keep(source, folders, until)
    else:
        told = keeping.keep(check_attempt(source.attempt_id), folders, until, _pulse)
    send(wire.json_frame(told.answer()))


def _wanted(mode: Message) -> Wanted:
    told = next(iter(frames()), None)
    if not isinstance(told, dict):
        raise Refusal("the request for files must be an object", "InputError")
    since = optional_number(mode, "since")
    globs = None if told.get("globs") is None else left_out.Globs(texts(told, "globs"))
    skip = [beneath.as_bytes(path) for path in texts(told, "skip")] if told.get("skip") else []
    return Wanted(globs, tuple(path for path in skip if path), since)


def _paths() -> Iterator[bytes]:
    count = 0
    for item in frames():
        if item is None:
            return
        for path in texts(item if isinstance(item, dict) else {}, "paths"):
            count += 1
            if count > files.MOST_ENTRIES:
                raise Refusal("these are too many paths", "InputError")
            yield beneath.as_bytes(check_relative(path))
    raise Refusal("the stream ended in the middle", "InputError")


def _tell(entries: List[Entry], end: Outgoing) -> None:
    batch: List[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += 6 * len(entry[0]) + 128
        if len(batch) >= _BATCH or size > _BATCH_SIZE:
            send(wire.json_frame({"entries": batch}))
            batch, size = [], 0
    if batch:
        send(wire.json_frame({"entries": batch}))
    send(wire.json_frame({"end": True, **end}))
    send(wire.END)


def _end(left_out: Dict[str, int], truncated: bool) -> Outgoing:
    return {"left_out": left_out, "truncated": truncated}


def _pulse() -> None:
    """Send a sign of life: the other side aborts after two minutes of silence."""
    send(wire.json_frame({"busy": True}))


def _end_with_the_other_side() -> None:
    """End this process when the caller no longer waits. A read from a file system that hangs ends
    only with its process."""

    def watch() -> None:
        while True:
            try:
                if not os.read(0, 65536):
                    break
            except OSError:
                break
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="other side").start()
