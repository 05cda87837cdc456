"""Packs a run's code folder: largest total and file, size of the diff, the notes about files
that commands name and that are not sent."""

from __future__ import annotations

import functools
import os
import posixpath
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hostler.base.errors import InputError
from hostler.base.units import MIB, format_size
from hostler.model.attempts import Source
from hostler.packing import git
from hostler.packing.git_run import Git
from hostler.packing.inside import Inside, LinkOnTheWay, NotRegular
from hostler.packing.secrets import is_secret
from hostler.packing.tar import TarWriter
from hostler.packing.tree import GIT, IGNORE_FILE, Entry, Skipped, Tree, choose

DEFAULT_LIMIT = 256 * MIB
DEFAULT_FILE_LIMIT = 32 * MIB
"""The limit of a daemon whose config sets none (`LimitsConfig`, which a client need not load).
"""
_DIFF_LIMIT = MIB
_NAMED = 5
_LEAVE_OUT = (
    f"exclude data in .gitignore or {IGNORE_FILE}, and name it under [mounts] where the hosts "
    'see it; or use code = "here"'
)

_BETWEEN = re.compile(r"[\s'\"=;|&<>(),]+")
_LONGEST = 4096
_MOST_WORDS = 5000
_MOST_LOOKED_AT = 20_000
"""The most entries of one folder to look at; the rest is not counted."""
_PROPOSED = 64 * MIB
"""A larger folder is not proposed for one of its files."""
_SECRET = "looks like a secret"  # noqa: S105  # a reason for people
_CACHES = ("__pycache__", "node_modules")
Unsent = Callable[[str], int]
"""Bytes below a folder that are not sent."""


@dataclass(frozen=True, slots=True)
class PackedSource:
    """A packed tree. The caller removes `path` when it is sent."""

    path: Path
    """A tar file in a temporary place, 0600."""
    digest: str
    """SHA-256 (hex) of that file: the same for the same content."""
    size: int
    files: int
    source: Source
    """For the run: digest, folder, commit, branch, dirty, diff."""
    skipped: tuple[Skipped, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    """Files that the words of commands name and that are not sent."""


def pack_source(
    folder: Path,
    limit: int = DEFAULT_LIMIT,
    *,
    file_limit: int = DEFAULT_FILE_LIMIT,
    include: Sequence[str] = (),
    words: Sequence[str] = (),
    temporary: Path | None = None,
) -> PackedSource:
    """Pack what git sees of `folder` (dirty files too), or without git all but what
    `.hostlerignore` names. Never `.git`; `.env` and keys only where `include` has their exact path.
    `words`: of commands, to report which files they name that do not go along.

    Raises InputError when it is no folder, when it is over `limit` bytes packed or a file over
    `file_limit` (naming the largest), or when a file changes or cannot be read meanwhile.
    """
    root = folder.absolute()
    if not root.is_dir():
        raise InputError(f"{folder} is not a folder")
    with Inside(root) as inside:
        tree = choose(inside, include)
        named = left_out(inside, tree, words) if words else ()
        packed = _pack(inside, tree, limit, file_limit, temporary)
    return replace(packed, left_out=named, source=replace(packed.source, include=tuple(include)))


def _pack(
    inside: Inside, tree: Tree, limit: int, file_limit: int, temporary: Path | None
) -> PackedSource:
    root = inside.root
    _check_files(root, tree.entries, file_limit)
    _check_size(root, tree.entries, sum(entry.size for entry in tree.entries), limit)
    handle, name = tempfile.mkstemp(prefix="hostler-source-", suffix=".tar", dir=temporary)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb", buffering=MIB) as out, TarWriter(out) as tar:
            for entry in tree.entries:
                _add(tar, inside, entry)
        _check_size(root, tree.entries, tar.size, limit)  # names and padding count as well
        source = _describe(root, tree, tar.digest)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return PackedSource(path, tar.digest, tar.size, tar.files, source, tree.skipped)


def source_names(folder: Path, include: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """The files that `pack_source` would pack, by name, and the symlinks. Raises InputError as it
    does."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    with Inside(folder.absolute()) as inside:
        entries = choose(inside, include).entries
    files = [entry.path for entry in entries if entry.target is None]
    return files, [entry.path for entry in entries if entry.target is not None]


def _check_size(root: Path, entries: Sequence[Entry], total: int, limit: int) -> None:
    if total <= limit:
        return
    raise InputError(
        f"{root} has {format_size(total)} to send, more than {format_size(limit)}; the largest: "
        f"{_named(entries)}",
        remedy=f"{_LEAVE_OUT}, or raise `source_size` under [limits]",
    )


def _check_files(root: Path, entries: Sequence[Entry], limit: int) -> None:
    large = [entry for entry in entries if entry.size > limit]
    if large:
        raise InputError(
            f"{root} has files of more than {format_size(limit)} to send: {_named(large)}",
            remedy=f"{_LEAVE_OUT}, or raise `source_file` under [limits]",
        )


def _named(entries: Sequence[Entry]) -> str:
    largest = sorted(entries, key=lambda entry: -entry.size)[:_NAMED]
    return ", ".join(f"{entry.path} ({format_size(entry.size)})" for entry in largest)


def _add(tar: TarWriter, inside: Inside, entry: Entry) -> None:
    if entry.target is not None:
        tar.add_link(entry.path, entry.target)
        return
    try:
        with inside.open(entry.path) as content:
            size = os.fstat(content.fileno()).st_size
            if size != entry.size:
                raise InputError(_changed(entry))
            tar.add_file(entry.path, 0o755 if entry.executable else 0o644, size, content)
    except (FileNotFoundError, LinkOnTheWay, NotRegular) as error:
        raise InputError(_changed(entry)) from error
    except OSError as error:
        reason = error.strerror or _changed(entry)
        raise InputError(
            f"{entry.path} cannot be packed: {reason}",
            remedy=f"make it readable, or exclude it in {IGNORE_FILE}",
        ) from error


def _changed(entry: Entry) -> str:
    return f"{entry.path} changed while it was being packed: try again"


def _describe(root: Path, tree: Tree, digest: str) -> Source:
    if tree.seen is None:
        return Source(digest=digest, path=str(root))
    asked = tree.seen.git
    commit = git.commit(asked)
    dirty = git.is_dirty(asked, tree.seen.submodules)
    return Source(
        digest=digest,
        path=str(root),
        git_commit=commit,
        git_branch=git.branch(asked),
        git_dirty=dirty,
        git_diff=_diff(asked, tree) if dirty and commit is not None else None,
    )


def _diff(asked: Git, tree: Tree) -> str | None:
    """The differences from the commit, without secrets, even if a secret is included on request:
    all users who may see the run see this."""
    sent = {entry.path for entry in tree.entries}
    changed = git.changed_files(asked)
    if changed is None:
        return None
    without = [n for n in changed if is_secret(n) or (n not in sent and tree.keeps_back(n))]
    new = [name for name in git.new_files(asked) if name in sent and not is_secret(name)]
    return git.diff(asked, _DIFF_LIMIT, without, new) or None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A path that a command names and that is not sent."""

    path: str
    """A folder ends in a slash."""
    size: int
    reason: str
    include: str
    """The --include value that sends it."""


def left_out(inside: Inside, tree: Tree, words: Sequence[str]) -> tuple[LeftOut, ...]:
    """The files and folders that the words of commands name and that are not sent."""
    sent = {entry.path for entry in tree.entries}
    paths = dict.fromkeys(_paths(os.fspath(inside.root), words))
    missing = [path for path in paths if path not in sent]
    found = {path: kind for path in missing if (kind := _kind(inside, path)) is not None}
    ignored = _ignored_by_git(tree, found)
    # Thousands of cells may name as many files of one folder.
    unsent = functools.cache(lambda folder: _unsent(inside, folder, sent))
    return tuple(
        told
        for path, kind in found.items()
        if (told := _told(inside, tree, unsent, ignored, path, is_folder=kind)) is not None
    )


def _paths(root: str, words: Iterable[str]) -> Iterator[str]:
    """Paths in the folder that the words may mean, relative to it."""
    for word in list(words)[:_MOST_WORDS]:
        for part in dict.fromkeys((word, *_BETWEEN.split(word[: 16 * _LONGEST]))):
            if not part or len(part) > _LONGEST or "\0" in part:
                continue
            path = posixpath.normpath(posixpath.join(root, part))
            if path.startswith(f"{root}/"):
                yield path.removeprefix(f"{root}/")


def _kind(inside: Inside, path: str) -> bool | None:
    """Whether it is a folder; None: it is neither a file nor a folder, or it is a link."""
    try:
        mode = inside.lstat(path).st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISDIR(mode):
        return True
    return False if stat.S_ISREG(mode) else None


def _ignored_by_git(tree: Tree, paths: Iterable[str]) -> set[str]:
    """The paths, and the folders above them, that git ignores."""
    if tree.seen is None:
        return set()
    asked = {part for path in paths for part in (*_above(path), path)}
    if not asked:
        return set()
    data = b"\0".join(os.fsencode(path) for path in sorted(asked))
    answer = tree.seen.git.run("check-ignore", "-z", "--stdin", data=data)
    return {os.fsdecode(raw) for raw in answer.stdout.split(b"\0") if raw}


def _above(path: str) -> list[str]:
    """The folders above a path, the topmost first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _told(
    inside: Inside, tree: Tree, unsent: Unsent, ignored: set[str], path: str, *, is_folder: bool
) -> LeftOut | None:
    if GIT in path.split("/"):
        return None
    if is_folder:
        return _told_folder(tree, unsent, ignored, path)
    size = inside.lstat(path).st_size
    if is_secret(path):
        return LeftOut(path, size, _SECRET, path)
    reason = _reason(tree, ignored, path)
    if reason is None:
        return None
    return LeftOut(path, size, reason, _proposed(tree, unsent, ignored, path))


def _reason(tree: Tree, ignored: set[str], path: str) -> str | None:
    """Why a path is not sent; None: no known rule excludes it."""
    if tree.ignore.leaves_out(path):
        return f"named by {IGNORE_FILE}"
    if not ignored.isdisjoint((*_above(path), path)):
        return "ignored by git"
    return None


def _told_folder(tree: Tree, unsent: Unsent, ignored: set[str], path: str) -> LeftOut | None:
    size = unsent(path)
    if not size:
        return None
    whole = tree.ignore.leaves_out(path, is_folder=True)
    reason = f"named by {IGNORE_FILE}" if whole else _reason(tree, ignored, path)
    if reason is None and tree.seen is None:
        return None
    return LeftOut(f"{path}/", size, reason or "ignored by git", f"{path}/")


def _proposed(tree: Tree, unsent: Unsent, ignored: set[str], path: str) -> str:
    """The excluded folder as a whole, if it is not large; else the path itself."""
    for folder in _above(path):
        if folder in ignored or tree.ignore.leaves_out(folder, is_folder=True):
            return f"{folder}/" if unsent(folder) <= _PROPOSED else path
    return path


def _unsent(inside: Inside, folder: str, sent: set[str]) -> int:
    """Bytes below a folder that are not sent: without secrets, caches and hidden folders."""
    total = 0
    for path in _files_below(inside, folder, lambda name: name.startswith(".") or name in _CACHES):
        if path not in sent and not is_secret(path):
            total += _size(inside, path)
    return total


def _size(inside: Inside, path: str) -> int:
    try:
        found = inside.lstat(path)
    except OSError:  # it went away
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _files_below(inside: Inside, folder: str, leaves: Callable[[str], bool]) -> Iterator[str]:
    looked_at = 0
    top = os.path.join(inside.root, folder)  # noqa: PTH118
    for place, folders, files in os.walk(top):
        base = os.path.relpath(place, inside.root)
        folders[:] = sorted(name for name in folders if not leaves(name))
        looked_at += len(folders) + len(files)
        yield from (f"{base}/{name}" for name in files)
        if looked_at > _MOST_LOOKED_AT:
            return
