"""What is asked of git about a folder (files, commit, branch, changes, diff, submodules), and
which repositories are refused. Only reads; takes no lock of the repository.

It is asked of a repository only where that belongs to the folder in which git found it. A `.git`
that was unpacked with a folder may lead to another repository of the same person, whose history
would then be sent along.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostler.base.errors import InputError
from hostler.base.text import clean_line
from hostler.packing.git_run import Git, git_in

_GITLINK = b"160000 "
_DIFF = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=dirty",
         "--submodule=short", "--relative")  # fmt: skip
_DEEPEST = 20
_MOST_WITHOUT = 1000
"""The most paths that a command line can leave out."""

_PARTS = ("HEAD", "objects", "packed-refs", "index", "refs", "reftable")
"""Files and folders that name or hold commits and files."""
_TREES = ("refs", "reftable")
_LONGEST = 8192
"""Bytes of a file that names a folder; git takes no longer path."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The files that git sees in a folder, sorted, relative to it."""

    git: Git
    """That can be asked more about it. Its repository's config was read once, at the beginning."""
    files: tuple[str, ...]
    empty_submodules: tuple[str, ...] = ()
    """Submodules that are not checked out: their files are missing here."""
    submodules: tuple[str, ...] = ()
    """Submodules that are checked out."""


def repository_of(folder: Path) -> Git | None:
    """git for this folder; None where it belongs to no git repository.

    Raises InputError where it is a repository that cannot be read (no git, another owner), or one
    that belongs to another folder: taking every file instead would send what was meant to stay.
    """
    looks_like_one = any(os.path.lexists(place / ".git") for place in (folder, *folder.parents))
    if not looks_like_one:
        return None
    try:
        git = git_in(folder)
        answer = git.run("rev-parse", "--is-inside-work-tree")
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} is a git repository, but git is not installed", remedy="install git"
        ) from error
    if answer.returncode != 0:
        said = answer.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(
            f"git cannot read {folder}: {said[0] if said else 'no reason given'}",
            remedy="try `git status` there; or make it a repository of its own: git init",
        )
    if answer.stdout.strip() != b"true":
        return None
    # A project below a repository that ignores it (a home folder kept in git) is its own tree.
    if git.run("check-ignore", "--quiet", str(folder)).returncode == 0:
        return None
    check_own(git)
    return git


def listed(git: Git, is_folder: Callable[[str], bool], depth: int = 0) -> Listed:
    """Tracked files and untracked ones that are not ignored, and the same of repositories inside
    (submodules or not). `is_folder` returns whether a name is a folder, without links in its
    path."""
    folder = git.folder
    if depth > _DEEPEST:
        raise InputError(
            f"{folder}: repositories are nested more than {_DEEPEST} deep",
            remedy="exclude them in .gitignore",
        )
    shown = git.must("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    staged = git.must("ls-files", "-z", "--stage").split(b"\0")
    links = {os.fsdecode(e.partition(b"\t")[2]) for e in staged if e.startswith(_GITLINK)}
    files: set[str] = set()
    inner: set[str] = set()
    for raw in filter(None, shown.split(b"\0")):
        name = os.fsdecode(raw)
        _check_name(folder, name)
        if name.endswith("/") or name in links:
            inner.add(name.rstrip("/"))
        else:
            files.add(name)
    found = {name for name in inner if is_folder(name) and os.path.lexists(folder / name / ".git")}
    empty = sorted(links - found)
    for name in sorted(found):
        inside = git_in(folder / name)
        check_own(inside)
        more = listed(inside, _below(name, is_folder), depth + 1)
        files |= {f"{name}/{part}" for part in more.files}
        empty += [f"{name}/{part}" for part in more.empty_submodules]
    return Listed(git, tuple(sorted(files)), tuple(empty), tuple(sorted(found & links)))


def _check_name(folder: Path, name: str) -> None:
    """git never writes such names into an index, but reads them: its diff would show what lies
    there."""
    if not {"..", ".", "", ".git"}.isdisjoint(name.removesuffix("/").split("/")):
        raise InputError(
            f"the index of {folder} names {clean_line(name, 200)}, which is not a file in it",
            remedy="rebuild the index: rm .git/index && git reset",
        )


def _below(name: str, is_folder: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda part: is_folder(f"{name}/{part}")


def commit(git: Git) -> str | None:
    """The commit that is checked out; None before the first one."""
    return git.line("rev-parse", "--verify", "--quiet", "HEAD")


def branch(git: Git) -> str | None:
    """The branch that is checked out; None if there is none."""
    return git.line("symbolic-ref", "--short", "--quiet", "HEAD")


def is_dirty(git: Git, submodules: Sequence[str] = ()) -> bool:
    """Whether the folder differs from the commit, untracked files and submodules included.

    git would look into submodules by programs of its own, which read their config.
    """
    options = ("--porcelain", "-z", "--ignore-submodules=dirty", "--", ".")
    if git.must("status", *options):
        return True
    return any(is_dirty(git_in(git.folder / name)) for name in submodules)


def new_files(git: Git) -> list[str]:
    """Files that are neither tracked nor ignored, relative to the folder."""
    shown = git.must("ls-files", "-z", "--others", "--exclude-standard")
    return [os.fsdecode(raw) for raw in shown.split(b"\0") if raw and not raw.endswith(b"/")]


def changed_files(git: Git) -> list[str] | None:
    """Tracked files that differ from the commit, deleted ones included, relative to the folder.
    None if git cannot know: objects of a partial clone are not fetched."""
    words = ("diff", "HEAD", "--name-only", "-z", "--no-renames", *_DIFF, "--", ".")
    answer = git.run(*words)
    if answer.returncode != 0:
        return None
    return [os.fsdecode(raw) for raw in answer.stdout.split(b"\0") if raw]


def diff(git: Git, limit: int, without: Sequence[str], new: Sequence[str] = ()) -> str | None:
    """The folder against its commit, cut at `limit` bytes with a note; some paths left out, and
    these `new` files in it. None where too many would have to be left out."""
    if len(without) > _MOST_WITHOUT:
        return None
    excluded = [f":(exclude,literal){name}" for name in without]
    with _index_with(git, new) as more:
        data = git.head(limit + 1, "diff", "HEAD", *_DIFF, "--", ".", *excluded, more=more)
    text = data[:limit].decode("utf-8", "replace")
    return text + f"\n[cut at {limit} bytes]\n" if len(data) > limit else text


@contextmanager
def _index_with(git: Git, new: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """Variables with which git takes these files for added: by a copy of the index."""
    if not new or not (index := _git_path(git, "index")).is_file():
        yield {}
        return
    objects = _git_path(git, "objects")
    with tempfile.TemporaryDirectory(prefix="hostler-index-") as scratch:
        copy = {"GIT_INDEX_FILE": shutil.copy(index, scratch)}
        # What git writes for an added file goes into the scratch folder too.
        adding = {
            **copy,
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_OBJECT_DIRECTORY": scratch,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
        }
        added = git.run(
            "add", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul",
            data=b"\0".join(map(os.fsencode, new)), more=adding,
        )  # fmt: skip
        # Before git 2.26 it cannot be asked so: then only tracked files are listed.
        yield {} if added.returncode else copy


def _git_path(git: Git, name: str) -> Path:
    return (git.folder / (git.line("rev-parse", "--git-path", name) or name)).resolve()


def check_own(git: Git) -> None:
    """Raise InputError if the repository's data lie in a place that this folder does not name."""
    git_dir, common = _place(git, "--absolute-git-dir"), _place(git, "--git-common-dir")
    if git_dir is None or common is None:
        raise InputError(f"git cannot find the repository of {git.folder}")
    here = git.folder.resolve()
    place = next((p for p in (here, *here.parents) if _leads_to(p / ".git", git_dir)), None)
    if place is None or not _belongs(git, place, git_dir, common):
        raise InputError(
            f"the repository of {git.folder} is in {git_dir}, which does not name this folder "
            "as its work tree",
            remedy="if both belong together, set this in that repository: git config core.worktree "
            f"{shlex.quote(str(place or here))}; otherwise remove that .git",
        )
    _check_links(git_dir, common)


def _place(git: Git, option: str) -> Path | None:
    name = git.line("rev-parse", option)
    return None if name is None else (git.folder / name).resolve()


def _leads_to(link: Path, git_dir: Path) -> bool:
    """Whether git used this `.git`."""
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
    """The real path. `resolve` fails for circular links before Python 3.13."""
    return Path(os.path.realpath(path))


def _text(path: Path) -> str:
    """The text of a short regular file; a pipe or device is not read."""
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
