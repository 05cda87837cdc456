"""Whether a repository belongs to the folder in which git found it.

A `.git` that was unpacked with a folder may lead to another repository of the same person, whose
history would then be sent along.
"""

from __future__ import annotations

import stat
from pathlib import Path

from hostler.errors import InputError
from hostler.packing.git_run import Git

_PARTS = ("HEAD", "objects", "refs", "packed-refs")


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
            remedy="if both belong together, clone it anew or use `git worktree add`; else remove "
            "that .git",
        )
    _check_reference(git, common)


def _place(git: Git, option: str) -> Path | None:
    name = git.line("rev-parse", option)
    return None if name is None else (git.folder / name).resolve()


def _leads_to(link: Path, git_dir: Path) -> bool:
    """Whether this `.git` is the one that git followed."""
    try:
        mode = link.lstat().st_mode
        if stat.S_ISREG(mode):
            text = link.read_bytes()[:4096].decode(errors="surrogateescape")
            named = text.partition("gitdir:")[2].strip()
            return (link.parent / named).resolve() == git_dir
        return link.resolve() == git_dir
    except OSError:
        return False


def _belongs(git: Git, place: Path, git_dir: Path, common: Path) -> bool:
    link = place / ".git"
    if any((common / part).is_symlink() for part in _PARTS):
        return False
    mode = link.lstat().st_mode
    if stat.S_ISDIR(mode):
        return common == git_dir
    if not stat.S_ISREG(mode):
        return False
    if common != git_dir:  # a work tree beside another
        return git_dir.parent == common / "worktrees" and _names(git_dir / "gitdir", link)
    config = str(git_dir / "config")
    tree = git.line("config", "--file", config, "--no-includes", "--get", "core.worktree")
    return tree is not None and (git_dir / tree).resolve() == place


def _names(file: Path, link: Path) -> bool:
    try:
        named = file.read_bytes()[:4096].decode(errors="surrogateescape").strip()
    except OSError:
        return False
    return (file.parent / named).resolve() == link


def _check_reference(git: Git, common: Path) -> None:
    """A branch may be a link to that of another repository, whose objects an alternate lends."""
    name = git.line("symbolic-ref", "--quiet", "HEAD")
    place = common
    for part in (name or "").split("/"):
        place = place / part
        if part and place.is_symlink():
            raise InputError(
                f"{place} is a link: git would read another repository", remedy="remove that link"
            )
