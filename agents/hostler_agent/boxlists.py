"""Chooses how files of a container are listed and opened: running ones by exec, ended ones by
Docker's archive call (at most 1,000 entries of a folder)."""

from __future__ import annotations

import contextlib
import os
import tarfile
from typing import Callable, Iterator, List, Tuple

from hostler_agent import inside
from hostler_agent.boxchanges import Reading, Rules, Snapshot, subtree
from hostler_agent.boxed import Boxed, TooMuch, Tree, kind
from hostler_agent.files import Entry
from hostler_agent.folders import Refusal
from hostler_agent.http import socket_path
from hostler_agent.source import ArchiveSource

_MOST_LOOKS = 1000
Listed = Tuple[List[Entry], bool]


def listed(
    source: ArchiveSource, path: bytes, recursive: bool, pulse: Callable[[], None]
) -> Listed:
    """List the entries at a path. Also return whether the list is incomplete. Raises Refusal,
    HttpError."""
    if _runs(source):
        from hostler_agent import boxexec

        return boxexec.listed(source, path, recursive)
    boxed = Boxed(source, pulse)
    try:
        return _ended(boxed, path.decode("utf-8", "replace"), recursive)
    except TooMuch:
        return [], True
    finally:
        boxed.close()


def opened(source: ArchiveSource, path: bytes) -> Tuple[int, float, Iterator[bytes]]:
    """Return size in bytes, mtime and content of one plain file. Raises Refusal, HttpError."""
    if _runs(source):
        from hostler_agent import boxexec

        return boxexec.opened(source, path)
    pieces = _file(source, path.decode("utf-8", "replace"))
    size, mtime, _ = next(pieces)
    return size, mtime, (piece for _, _, piece in pieces)


def _runs(source: ArchiveSource) -> bool:
    connection, found = inside.opened(
        socket_path(), source.ref, source.attempt_id, inside.CHECK_TIMEOUT
    )
    connection.close()
    return inside.is_alive(found)


def _file(source: ArchiveSource, path: str) -> Iterator[Tuple[int, float, bytes]]:
    """Yield size, mtime and a piece of the content; the first piece is empty."""
    boxed = Boxed(source, lambda: None)
    try:
        seen = boxed.look(path)
        if seen.link:
            text = "%s is a link: ask for the file that it leads to"
            raise Refusal(text % path, "InputError")
        if not seen.plain:
            raise Refusal("%s is not a plain file" % path, "InputError")
        with contextlib.closing(boxed.members(path)) as members:
            for _, member, content in members:
                if kind(member) != "file":
                    raise Refusal("%s is not a plain file" % path, "InputError")
                size, mtime = member.size, float(member.mtime)
                yield size, mtime, b""
                for piece in content():
                    yield size, mtime, piece
                return
        raise Refusal("there is no %s in the folder" % path, "NotFoundError")
    finally:
        boxed.close()


def _ended(boxed: Boxed, path: str, recursive: bool) -> Listed:
    if path:
        seen = boxed.look(path)
        if not seen.folder:
            return [_entry(os.path.basename(path), seen)], False
    tree = boxed.tree()
    inner = subtree(tree, path) or {}
    if not recursive:
        return _children(boxed, path, inner)
    reading = _Whole(boxed, Rules(None, tree, boxed.mounts()), tree, Snapshot(None))
    reading.below(path)
    prefix = len(path) + 1 if path else 0
    found = reading.found.sorted()
    entries = [(path[prefix:], word, size, at, sha256) for path, word, size, at, sha256 in found]
    return sorted(entries), reading.found.truncated


class _Whole(Reading):
    """Lists all entries, including folders."""

    def folder(self, path: str, member: tarfile.TarInfo) -> None:
        """Add the folder to the list."""
        self.found.add(path, "folder", member, 0)


def _children(boxed: Boxed, path: str, inner: Tree) -> Listed:
    found = []
    for name in sorted(inner)[:_MOST_LOOKS]:
        try:
            seen = boxed.look(os.path.join(path, name))
        except Refusal as refusal:
            if refusal.kind != "NotFoundError":
                raise
            continue
        if seen.folder or seen.link or seen.plain:
            found.append(_entry(name, seen))
    return found, len(inner) > _MOST_LOOKS


def _entry(name: str, seen: inside.Seen) -> Entry:
    word = "link" if seen.link else "folder" if seen.folder else "file"
    return name, word, seen.size if word == "file" else 0, seen.mtime, None
