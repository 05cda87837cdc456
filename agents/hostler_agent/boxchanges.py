"""Decides which files of an ended container are new or changed, and makes a tar of chosen ones;
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
"""A file of more bytes that only has to be named is not waited for: the rest is asked for anew."""
_HEAVY = 500
"""Entries of a folder that is left out, from which on it is not even read."""
_FEW = 32


class _Placed(NamedTuple):
    size: int
    offset: int
    link: Optional[str]


class Snapshot:
    """The source that was placed into a container, out of this host's cache."""

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
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def may_be(self, path: str, member: tarfile.TarInfo) -> bool:
        """Whether only its content shows that a file differs from what was placed."""
        known = self._known.get(path)
        return known is not None and known.link is None and known.size == member.size

    def is_link(self, path: str, target: str) -> bool:
        """Whether that very link was placed."""
        known = self._known.get(path)
        return known is not None and known.link == target

    def is_file(self, path: str, content: Iterator[bytes]) -> bool:
        """Whether this is what was placed there, of the size that it has."""
        assert self._file is not None
        self._file.seek(self._known[path].offset)
        same = True
        for piece in content:  # to the end: the next member begins there
            same = same and self._file.read(len(piece)) == piece
        return same


class Found:
    """A list that grows; of two that are shown alike the first counts."""

    def __init__(self) -> None:
        self.entries: Dict[str, Entry] = {}
        self.left_out: Dict[str, int] = {}
        self.truncated = False
        self._names = 0
        self._real: Dict[str, str] = {}

    def add(self, path: str, word: str, member: tarfile.TarInfo, size: int) -> None:
        """A file, folder or link."""
        if path not in self.entries:
            self._names += len(path)
            self.entries[path] = (path, word, size, float(member.mtime), None)
        if LOST in path and self._real.setdefault(path, member.uname) != member.uname:
            self.truncated = True  # the list is incomplete

    def is_full(self) -> bool:
        """There is room for no more."""
        return len(self.entries) >= MOST_ENTRIES or self._names >= MOST_NAMES - 8192

    def leave_out(self, why: str, size: int) -> None:
        """Count what is left out."""
        self.left_out[why] = self.left_out.get(why, 0) + size

    def sorted(self) -> List[Entry]:
        """By path."""
        return sorted(self.entries.values())


class Rules:
    """Which paths count, by their names and the present tree."""

    def __init__(self, wanted: Optional[Wanted], tree: Tree, mounts: List[str]) -> None:
        """`wanted` None: everything, as in a list."""
        self._wanted, self._tree = wanted, tree
        self.mounts = set(mounts)
        self._folders: Dict[str, Optional[str]] = {"": None}

    def folder(self, path: str) -> Optional[str]:
        """Why a folder and all in it is left out, "" without a word; None: it is not."""
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
        """What is as it was placed does not count."""
        return self._wanted is not None and self._wanted.globs is None

    def whole(self, path: str, node: Tree) -> bool:
        """Whether a folder may be read as one: it has nothing mounted in it, and little of what is
        left out."""
        if self.folder(path) is not None:
            return path not in self.mounts and weight(node) < _HEAVY
        return all(self.whole(os.path.join(path, name), node[name]) for name in node)


def _raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def subtree(tree: Tree, path: str) -> Optional[Tree]:
    """What is in a folder; None: there is no such path."""
    for part in path.split("/") if path else ():
        if part not in tree:
            return None
        tree = tree[part]
    return tree


def weight(tree: Tree) -> int:
    """Entries in a folder, and in those in it."""
    return sum(1 + weight(inner) for inner in tree.values())


class Reading:
    """Reads folders of an ended container, and gathers what counts in them."""

    def __init__(self, boxed: Boxed, rules: Rules, tree: Tree, snapshot: Snapshot) -> None:
        self._boxed, self._rules, self._tree, self._snapshot = boxed, rules, tree, snapshot
        self._sizes: Dict[str, int] = {}
        self._named: Set[str] = set()
        """Files that were too big to be waited for, and are in the list."""
        self.found = Found()

    def below(self, path: str) -> None:
        """All that is in a folder."""
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
        """Read what lies at a path; what is to be read in its place."""
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
            # A name that is no text is asked for as it is shown, or it lies in the image.
            self.found.leave_out(left_out.UNREADABLE, 0)
            self.found.truncated = True
            return []

    def _read(self, path: str) -> bool:
        """False: it was broken off at a file that is too big to be waited for."""
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
        """Add a member if it counts; True where its content is not wanted."""
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
        """Called for each folder."""

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
        """Docker lists the second name of a file as a link to the first."""
        size = member.size if member.isreg() else 0
        if member.islnk():
            return self._sizes.get(_beside(path, member), 0)
        if size and len(self._sizes) < MOST_ENTRIES:
            self._sizes[path] = size
        return size


def _beside(path: str, member: tarfile.TarInfo) -> str:
    """The path of the first name of a file, by that of the second."""
    depth = member.name.count("/")
    root = path.rsplit("/", depth + 1)[0] if path.count("/") > depth else ""
    return os.path.normpath(os.path.join(root, member.linkname))


def changes(
    source: ArchiveSource, wanted: Wanted, folders: Folders, pulse: Callable[[], None]
) -> Found:
    """What is new or changed, or named. Raises Refusal, HttpError."""
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
    """A tar of these files and links; what is gone is left out. The same bytes each time."""
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
            # One whose name is no text is found in its folder alone.
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
        """What is wanted of a folder, out of all of it."""
        with contextlib.closing(self._boxed.members(top)) as found:
            for path, member, content in found:
                if path in self._left and not member.islnk() and kind(member) in ("file", "link"):
                    self._left.discard(path)
                    yield from self._packed(path, member, content)
                elif member.size > BIG:
                    return  # the rest comes one by one

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
