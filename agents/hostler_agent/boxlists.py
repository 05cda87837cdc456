"""Lists and files of containers: of one that runs by an exec in it, of one that has ended by
Docker's archive call."""

from __future__ import annotations

import contextlib
import os
import tarfile
from typing import Any, Callable, Dict, Iterator, List, Tuple

from hostler_agent import inside
from hostler_agent.boxchanges import Reading, Rules, Snapshot, subtree
from hostler_agent.boxed import Boxed, TooMuch, Tree, kind
from hostler_agent.files import Entry
from hostler_agent.folders import Refusal

_MOST_LOOKS = 1000
Listed = Tuple[List[Entry], bool]


def listed(mode: Dict[str, Any], path: bytes, recursive: bool, pulse: Callable[[], None]) -> Listed:
    """What lies at a path now, and whether there is more. Raises Refusal, HttpError."""
    if _runs(mode):
        from hostler_agent import boxexec

        return boxexec.listed(mode, path, recursive)
    boxed = Boxed(mode, pulse)
    try:
        return _ended(boxed, path.decode("utf-8", "replace"), recursive)
    except TooMuch:
        return [], True
    finally:
        boxed.close()


def opened(mode: Dict[str, Any], path: bytes) -> Tuple[int, float, Iterator[bytes]]:
    """Size, mtime and content of one plain file. Raises Refusal, HttpError."""
    if _runs(mode):
        from hostler_agent import boxexec

        return boxexec.opened(mode, path)
    pieces = _file(mode, path.decode("utf-8", "replace"))
    head = next(pieces)
    assert isinstance(head, tuple)
    return head[0], head[1], pieces


def _runs(mode: Dict[str, Any]) -> bool:
    from hostler_agent.containers import socket_path

    ref, attempt = str(mode.get("ref")), mode.get("attempt_id")
    connection, found = inside.opened(socket_path(), ref, attempt, inside.CHECK_TIMEOUT)
    connection.close()
    return inside.is_alive(found)


def _file(mode: Dict[str, Any], path: str) -> Iterator[Any]:
    """Size and mtime first, then the content."""
    boxed = Boxed(mode, lambda: None)
    try:
        seen = boxed.look(path)
        if seen.link:
            text = "%s is a link: ask for the file that it leads to"
            raise Refusal(text % path, "InputError")
        if not seen.plain:
            raise Refusal("%s is no plain file" % path, "InputError")
        with contextlib.closing(boxed.members(path)) as members:
            for _, member, content in members:
                if kind(member) != "file":
                    raise Refusal("%s is no plain file" % path, "InputError")
                yield member.size, float(member.mtime)
                yield from content()
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
    entries = [(name[prefix:], *rest) for name, *rest in reading.found.sorted()]
    return sorted(entries), reading.found.truncated  # type: ignore[arg-type]


class _Whole(Reading):
    """Everything, folders too."""

    def folder(self, path: str, member: tarfile.TarInfo) -> None:
        """In a list they count."""
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
