"""Decides which files of an ended container are new or changed, and makes a tar of chosen files;
`files` does the same for process jobs."""

from __future__ import annotations

import contextlib
import os
import tarfile
from typing import BinaryIO, Callable, Dict, Iterator, List, NamedTuple, Optional, Set

from hostler_agent import left_out
from hostler_agent.boxed import LOST, Boxed, TooMuch, Tree, kind
from hostler_agent.files import MOST_ENTRIES, MOST_NAMES, Entry, Wanted
from hostler_agent.folders import Folders, Refusal
from hostler_agent.source import ArchiveSource
from hostler_agent.tarcheck import members as blob_members
from hostler_agent.walk import MOST_DEEP

BIG = 1024**3
"""Bytes. After a larger file the agent stops reading a stream, and requests path by path."""
_HEAVY = 500
"""A left-out folder with this many entries or more is not read as part of its parent."""
_FEW = 32


class _Placed(NamedTuple):
    size: int
    offset: int
    link: Optional[str]


class Snapshot:
    """The source snapshot that was placed into a container, read from this host's cache."""

    def __init__(self, path: Optional[str]) -> None:
        self._file: Optional[BinaryIO] = open(path, "rb") if path is not None else None
        self._known: Dict[str, _Placed] = {}
        if self._file is not None:
            for member in blob_members(self._file):
                self._add(member)

    def _add(self, member: tarfile.TarInfo) -> None:
        name = os.path.normpath(member.name)
        if member.issym():
            self._known[name] = _Placed(0, 0, member.linkname)
        elif member.islnk():
            there = self._known.get(os.path.normpath(member.linkname))
            if there is not None:
                self._known[name] = there
        elif member.isreg():
            self._known[name] = _Placed(member.size, member.offset_data, None)

    def close(self) -> None:
        """Close the snapshot's file."""
        if self._file is not None:
            self._file.close()

    def may_be(self, path: str, member: tarfile.TarInfo) -> bool:
        """Whether a file has the size of the placed one, so that its content must be compared."""
        known = self._known.get(path)
        return known is not None and known.link is None and known.size == member.size

    def is_link(self, path: str, target: str) -> bool:
        """Whether a link with this target was placed at this path."""
        known = self._known.get(path)
        return known is not None and known.link == target

    def is_file(self, path: str, content: Iterator[bytes]) -> bool:
        """Whether the content equals the placed one; both have the same size."""
        assert self._file is not None
        self._file.seek(self._known[path].offset)
        same = True
        for piece in content:  # read to the end, where the next member begins
            same = same and self._file.read(len(piece)) == piece
        return same


class Found:
    """A growing list of files. If several paths are displayed the same, the first one counts."""

    def __init__(self) -> None:
        self.entries: Dict[str, Entry] = {}
        self.left_out: Dict[str, int] = {}
        self.truncated = False
        self._names = 0
        self._real: Dict[str, str] = {}

    def add(self, path: str, word: str, member: tarfile.TarInfo, size: int) -> None:
        """Add a file, folder or link."""
        if path not in self.entries:
            self._names += len(path)
            self.entries[path] = (path, word, size, float(member.mtime), None)
        if LOST in path and self._real.setdefault(path, member.uname) != member.uname:
            self.truncated = True  # the list is incomplete

    def is_full(self) -> bool:
        """Whether the list has reached its limits."""
        return len(self.entries) >= MOST_ENTRIES or self._names >= MOST_NAMES - 8192

    def leave_out(self, why: str, size: int) -> None:
        """Count the bytes of a left-out file or folder under its reason."""
        self.left_out[why] = self.left_out.get(why, 0) + size

    def sorted(self) -> List[Entry]:
        """The entries, by path."""
        return sorted(self.entries.values())


class Rules:
    """Decides which paths count, by their names and the container's current tree."""

    def __init__(self, wanted: Optional[Wanted], tree: Tree, mounts: List[str]) -> None:
        """`wanted` None: all paths count, as for a list of files."""
        self._wanted, self._tree = wanted, tree
        self.mounts = set(mounts)
        self._folders: Dict[str, Optional[str]] = {"": None}

    def folder(self, path: str) -> Optional[str]:
        """Why a folder is left out; "": left out without a report; None: it is not left out."""
        if path not in self._folders:
            above = self.folder(os.path.dirname(path))
            self._folders[path] = self._own(path) if above is None else above
        return self._folders[path]

    def _own(self, path: str) -> Optional[str]:
        raw, wanted = _raw(path), self._wanted
        if path in self.mounts or wanted is None:
            return "" if path in self.mounts else None
        if left_out.is_below(raw, wanted.skip):
            return ""
        if wanted.globs is not None:
            return None if wanted.globs.may_match_below(raw) else ""
        why = left_out.folder_left_out(_raw(os.path.basename(path)), "/" not in path)
        node = subtree(self._tree, path)
        if why is None and node is not None and ("pyvenv.cfg" in node or "conda-meta" in node):
            return left_out.ENVIRONMENTS
        return why

    def counts(self, path: str) -> bool:
        """Whether a file or link in a folder that is not left out counts."""
        wanted = self._wanted
        if wanted is None or left_out.is_below(_raw(path), wanted.skip):
            return wanted is None
        return wanted.globs is None or wanted.globs.matches(_raw(path))

    @property
    def compares(self) -> bool:
        """Whether only new and changed files count."""
        return self._wanted is not None and self._wanted.globs is None

    def whole(self, path: str, node: Tree) -> bool:
        """Whether one request may read a folder: it has no mounts and few left-out entries."""
        if self.folder(path) is not None:
            return path not in self.mounts and weight(node) < _HEAVY
        return all(self.whole(os.path.join(path, name), node[name]) for name in node)


def _raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def subtree(tree: Tree, path: str) -> Optional[Tree]:
    """The entries in a folder of a tree; None if there is no such path."""
    for part in path.split("/") if path else ():
        if part not in tree:
            return None
        tree = tree[part]
    return tree


def weight(tree: Tree) -> int:
    """Number of entries in a folder, including those in its subfolders."""
    return sum(1 + weight(inner) for inner in tree.values())


class Reading:
    """Reads folders of an ended container and collects the files that count."""

    def __init__(self, boxed: Boxed, rules: Rules, tree: Tree, snapshot: Snapshot) -> None:
        self._boxed, self._rules, self._tree, self._snapshot = boxed, rules, tree, snapshot
        self._sizes: Dict[str, int] = {}
        self._named: Set[str] = set()
        """Files over `BIG` that are already in the list."""
        self.found = Found()

    def below(self, path: str) -> None:
        """Read everything in a folder."""
        todo = [
            os.path.join(path, n) for n in sorted(subtree(self._tree, path) or {}, reverse=True)
        ]
        try:
            while todo and not self.found.is_full():
                todo += self._one(todo.pop())
        except TooMuch:
            todo.append("")
        if todo:
            self.found.truncated = True

    def _one(self, path: str) -> List[str]:
        """Read the file or folder at a path; returns paths to read instead, if it is not read."""
        node = subtree(self._tree, path) or {}
        inner = [os.path.join(path, name) for name in sorted(node, reverse=True)]
        why = self._rules.folder(path) if node or path in self._rules.mounts else None
        if path in self._named or why == "":
            return []
        if not self._rules.whole(path, node):
            if why:
                self.found.leave_out(why, 0)
            return [] if why else inner
        try:
            if self._read(path):
                return []
            self.found.truncated = self.found.truncated or not inner
            return inner
        except Refusal as refusal:
            if refusal.kind != "NotFoundError":
                raise
            # Docker does not find a name that is not valid UTF-8, nor a file that lies in the
            # image.
            self.found.leave_out(left_out.UNREADABLE, 0)
            self.found.truncated = True
            return []

    def _read(self, path: str) -> bool:
        """Read a path. False: stopped early, by a full list or at a file over `BIG`."""
        with contextlib.closing(self._boxed.members(path)) as members:
            for where, member, content in members:
                if self.found.is_full():
                    return False
                if self._take(where, member, content) and member.size > BIG:
                    self._named.add(where)
                    return where == path
        return True

    def _take(
        self, path: str, member: tarfile.TarInfo, content: Callable[[], Iterator[bytes]]
    ) -> bool:
        """Add a member if it counts. Returns True if its content is not needed."""
        word = kind(member)
        if path.count("/") >= MOST_DEEP:
            self.found.leave_out(left_out.TOO_DEEP, member.size)
            self.found.truncated = True
            return True
        above = os.path.dirname(path)
        why = self._rules.folder(path if word == "folder" else above)
        size = self._size(path, member)
        if why is not None:
            if why and word != "folder":
                self.found.leave_out(why, size)
            return True
        if word is None:
            if self._rules.counts(path):
                self.found.leave_out(left_out.SPECIAL, 0)
        elif word == "folder":
            self.folder(path, member)
        elif self._rules.counts(path):
            return self._file(path, member, word, size, content)
        return True

    def folder(self, path: str, member: tarfile.TarInfo) -> None:
        """Called for each folder; subclasses use it."""

    def _file(
        self, path: str, member: tarfile.TarInfo, word: str, size: int,
        content: Callable[[], Iterator[bytes]],
    ) -> bool:  # fmt: skip
        compares, wants = self._rules.compares, True
        if compares and member.isreg() and self._snapshot.may_be(path, member):
            wants = False
            if self._snapshot.is_file(path, content()):
                return False
        elif compares and member.issym() and self._snapshot.is_link(path, member.linkname):
            return True
        elif compares and member.isreg() and left_out.may_be_core(_raw(member.name)):
            wants = False
            if next(content(), b"")[:4] == b"\x7fELF":
                self.found.leave_out(left_out.CORES, size)
                return True
        self.found.add(path, word, member, size)
        return wants

    def _size(self, path: str, member: tarfile.TarInfo) -> int:
        """Bytes of a member. Docker lists another name of a file as a link to its first name."""
        size = member.size if member.isreg() else 0
        if member.islnk():
            return self._sizes.get(_beside(path, member), 0)
        if size and len(self._sizes) < MOST_ENTRIES:
            self._sizes[path] = size
        return size


def _beside(path: str, member: tarfile.TarInfo) -> str:
    """The path of a file's first name, from the path of a further name."""
    depth = member.name.count("/")
    root = path.rsplit("/", depth + 1)[0] if path.count("/") > depth else ""
    return os.path.normpath(os.path.join(root, member.linkname))


def changes(
    source: ArchiveSource, wanted: Wanted, folders: Folders, pulse: Callable[[], None]
) -> Found:
    """Files that are new or changed, or that `wanted` names. Raises Refusal, HttpError."""
    snapshot = Snapshot(_blob(source.snapshot, folders))
    try:
        boxed = Boxed(source, pulse)
        try:
            tree = boxed.tree()
            reading = Reading(boxed, Rules(wanted, tree, boxed.mounts()), tree, snapshot)
            reading.below("")
            return reading.found
        except TooMuch:
            found = Found()
            found.truncated = True
            return found
        finally:
            boxed.close()
    finally:
        snapshot.close()


def _blob(digest: Optional[str], folders: Folders) -> Optional[str]:
    if digest is None:
        return None
    path = folders.blob(digest)
    try:
        os.utime(path)
    except FileNotFoundError:
        text = "the source %s is not cached here"
        raise Refusal(text % digest, "NotFoundError") from None
    return path


def chosen_tar(
    source: ArchiveSource, below: bytes, paths: List[bytes], pulse: Callable[[], None]
) -> Iterator[bytes]:
    """A tar of these files and links, without missing ones; always the same bytes."""
    boxed = Boxed(source, pulse)
    try:
        wanted = {os.path.join(below, path).decode("utf-8", "replace") for path in paths}
        prefix = len(below) + 1 if below else 0
        yield from _Choosing(boxed, wanted, prefix).tar()
    finally:
        boxed.close()


class _Choosing:
    def __init__(self, boxed: Boxed, wanted: Set[str], prefix: int) -> None:
        self._boxed, self._left, self._prefix = boxed, wanted, prefix

    def tar(self) -> Iterator[bytes]:
        groups: Dict[str, int] = {}
        for path in self._left:
            top = path.split("/")[0]
            # A name that is not valid UTF-8 is found only by reading its folder.
            groups[top] = groups.get(top, 0) + (_FEW + 1 if LOST in path else 1)
        for top in sorted(groups):
            if groups[top] > _FEW and LOST not in top and self._may_be_read(top):
                yield from self._group(top)
        for path in sorted(self._left):
            yield from self._single(path)
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _may_be_read(self, top: str) -> bool:
        mounts = self._boxed.mounts()
        return not any(each == top or each.startswith(top + "/") for each in mounts)

    def _group(self, top: str) -> Iterator[bytes]:
        """The wanted files of a folder, from one request for the whole folder."""
        with contextlib.closing(self._boxed.members(top)) as found:
            for path, member, content in found:
                if path in self._left and not member.islnk() and kind(member) in ("file", "link"):
                    self._left.discard(path)
                    yield from self._packed(path, member, content)
                elif member.size > BIG:
                    return  # the other files are requested one by one

    def _single(self, path: str) -> Iterator[bytes]:
        try:
            with contextlib.closing(self._boxed.members(path)) as found:
                for where, member, content in found:
                    if kind(member) in ("file", "link"):
                        yield from self._packed(where, member, content)
                    return
        except Refusal as refusal:
            if refusal.kind != "NotFoundError":
                raise

    def _packed(
        self, path: str, member: tarfile.TarInfo, content: Callable[[], Iterator[bytes]]
    ) -> Iterator[bytes]:
        info = tarfile.TarInfo(path[self._prefix :])
        info.mode, info.mtime = member.mode & 0o777, int(member.mtime)
        if member.issym():
            info.type, info.linkname = tarfile.SYMTYPE, member.linkname
        else:
            info.size = member.size
        yield info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        if info.size:
            yield from content()
            yield bytes(-info.size % tarfile.BLOCKSIZE)
