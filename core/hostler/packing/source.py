"""Packing a source tree for a run: the tar file, its digest, and what git says of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hostler.base.errors import InputError
from hostler.base.units import MIB, format_size
from hostler.model.config import LimitsConfig
from hostler.model.runs import Source
from hostler.packing import git
from hostler.packing.inside import Inside, LinkOnTheWay, NotRegular
from hostler.packing.left_out import LeftOut, left_out
from hostler.packing.secrets import is_secret
from hostler.packing.tar import TarWriter
from hostler.packing.tree import IGNORE_FILE, Entry, Skipped, Tree, choose

DEFAULT_LIMIT = LimitsConfig().source_size
DEFAULT_FILE_LIMIT = LimitsConfig().source_file
"""What a daemon takes in whose config says nothing."""
_DIFF_LIMIT = MIB
_NAMED = 5
_LEAVE_OUT = (
    f"exclude data in .gitignore or {IGNORE_FILE}, and name it under [mounts] where the hosts "
    'see it; or use code = "here"'
)


@dataclass(frozen=True, slots=True)
class PackedSource:
    """A packed tree. Whoever gets it removes `path` when it is sent."""

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
    """Files that the words of commands name and that do not go along."""


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
    `words`: of commands, to tell which files they name that do not go along.

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
    commit = git.commit(root)
    dirty = git.is_dirty(root, tree.seen.submodules)
    return Source(
        digest=digest,
        path=str(root),
        git_commit=commit,
        git_branch=git.branch(root),
        git_dirty=dirty,
        git_diff=_diff(root, tree) if dirty and commit is not None else None,
    )


def _diff(root: Path, tree: Tree) -> str | None:
    """What differs from the commit, without secrets: whoever may see the run sees this, also where
    it was asked for that one goes along."""
    sent = {entry.path for entry in tree.entries}
    changed = git.changed_files(root)
    if changed is None:
        return None
    without = [n for n in changed if is_secret(n) or (n not in sent and tree.keeps_back(n))]
    new = [name for name in git.new_files(root) if name in sent and not is_secret(name)]
    return git.diff(root, _DIFF_LIMIT, without, new) or None
