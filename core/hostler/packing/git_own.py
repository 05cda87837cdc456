"""Whether a repository belongs to the folder in which git found it.

A `.git` that was unpacked with a folder may lead to another repository of the same person, whose
history would then be sent along.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from hostler.base.errors import InputError
from hostler.packing.git_run import Git

_PARTS = ("HEAD", "objects", "packed-refs", "index", "refs", "reftable")
"""What names commits and files, or holds them."""
_TREES = ("refs", "reftable")
_LONGEST = 8192
"""Bytes of a file that names a folder; git takes no longer path."""


def check_own(git: Git) -> None:
    """Raise InputError where the repository's data lie where nothing names this folder."""
    git_dir, common = _place(git, "--absolute-git-dir"), _place(git, "--git-common-dir")
    if git_dir is None or common is None:
        raise InputError(f"git cannot tell where the repository of {git.folder} lies")
    here = git.folder.resolve()
    place = next((p for p in (here, *here.parents) if _leads_to(p / ".git", git_dir)), None)
    if place is None or not _belongs(git, place, git_dir, common):
        raise InputError(
            f"the repository of {git.folder} lies in {git_dir}, which does not name this folder "
            "as its work tree",
            remedy="if both belong together, set this in that repository: git config core.worktree "
            f"{shlex.quote(str(place or here))}; otherwise remove that .git",
        )
    _check_links(git_dir, common)


def _place(git: Git, option: str) -> Path | None:
    name = git.line("rev-parse", option)
    return None if name is None else (git.folder / name).resolve()


def _leads_to(link: Path, git_dir: Path) -> bool:
    """Whether this `.git` is the one that git followed."""
    try:
        mode = link.lstat().st_mode
        if stat.S_ISREG(mode):
            named = _text(link).partition("gitdir:")[2].strip()
            return _real(link.parent / named) == git_dir
        return _real(link) == git_dir
    except (OSError, ValueError):
        return False


def _belongs(git: Git, place: Path, git_dir: Path, common: Path) -> bool:
    link = place / ".git"
    mode = link.lstat().st_mode
    if stat.S_ISDIR(mode):
        return common == git_dir
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        return False
    if common != git_dir:  # a work tree beside another
        return git_dir.parent == common / "worktrees" and _names(git_dir / "gitdir", link)
    config = str(git_dir / "config")
    tree = git.line("config", "--file", config, "--no-includes", "--get", "core.worktree")
    return tree is not None and (git_dir / tree).resolve() == place


def _names(file: Path, link: Path) -> bool:
    try:
        return _real(file.parent / _text(file).strip()) == link
    except (OSError, ValueError):
        return False


def _real(path: Path) -> Path:
    """Where it leads; links in a circle lead nowhere else, where `resolve` has no words for them
    before Python 3.13."""
    return Path(os.path.realpath(path))


def _text(path: Path) -> str:
    """A short file; nobody waits for a pipe, or reads a device without end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.fsdecode(os.read(descriptor, _LONGEST))
    finally:
        os.close(descriptor)


def _check_links(git_dir: Path, common: Path) -> None:
    """Raise InputError for a link by which git would take a commit or an index from elsewhere,
    whose objects an alternate may lend."""
    for base in {git_dir, common}:
        for link in _links(base):
            led = _real(link)
            if not any(led.is_relative_to(place) for place in (git_dir, common)):
                raise InputError(
                    f"{link} is a link to {led}: git would read another repository",
                    remedy="remove that link",
                )


def _links(base: Path) -> Iterator[Path]:
    yield from (base / part for part in _PARTS if (base / part).is_symlink())
    yield from (path for path in base.glob("sharedindex.*") if path.is_symlink())
    for tree in _TREES:
        yield from _links_below(base / tree)


def _links_below(folder: Path) -> Iterator[Path]:
    waiting = [folder]
    while waiting:
        try:
            entries = [*os.scandir(waiting.pop())]
        except (FileNotFoundError, NotADirectoryError):
            continue
        yield from (Path(entry) for entry in entries if entry.is_symlink())
        waiting += [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
