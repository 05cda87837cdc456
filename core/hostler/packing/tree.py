"""Which files of a folder are packed (git's list, .hostlerignore, --include), which are omitted
and why, and how many files are allowed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostler.base.errors import InputError
from hostler.packing import git
from hostler.packing.ignore import Ignore
from hostler.packing.inside import Inside, LeadsOut, LinkOnTheWay
from hostler.packing.secrets import is_secret
from hostler_agent.tarcheck import link_stays_inside

IGNORE_FILE = ".hostlerignore"
GIT = ".git"
_MAX_FILES = 100_000
_OUTSIDE = frozenset(("..", GIT))


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that was left out although it seemed to be part of the tree."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or symlink to pack."""

    path: str
    size: int
    executable: bool = False
    target: str | None = None
    """The target of a symlink."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The entries to pack, sorted, and the skipped paths."""

    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...]
    seen: git.Listed | None
    """The files that git sees; None without git."""
    ignore: Ignore

    def keeps_back(self, name: str) -> bool:
        """Whether a path that was not sent must not appear in a diff either."""
        return is_secret(name) or self.ignore.leaves_out(name)


_SECRET = "looks like a secret"  # noqa: S105  # a reason for people
_EMPTY = "a submodule that is not checked out: git submodule update --init"
_MAX_IGNORE = 1024 * 1024


def choose(inside: Inside, include: Sequence[str]) -> Tree:
    """What git sees, or without git all but what `.hostlerignore` names; never secrets.

    `include`: paths or glob patterns, relative, that are taken though git or the ignore file says
    no; a secret only by its exact path. Raises InputError when there are too many files, or a path
    of `include` does not exist.
    """
    folder = inside.root
    ignore = _read_ignore(inside)
    repository = git.repository_of(folder)
    seen = None if repository is None else git.listed(repository, inside.is_folder)
    listed = _walk(folder, ignore) if seen is None else seen.files
    wanted = _included(inside, include)
    entries: dict[str, Entry] = {}
    empty = () if seen is None else seen.empty_submodules
    skipped = {name: Skipped(name, _EMPTY) for name in empty if not ignore.leaves_out(name)}
    for name in (*wanted, *listed):
        if name in entries or name in skipped:
            continue
        if name not in wanted and ignore.leaves_out(name):
            continue
        if not wanted.get(name, False) and is_secret(name):
            skipped[name] = Skipped(name, _SECRET)
            continue
        found = _entry(inside, name)
        if isinstance(found, Entry):
            entries[name] = found
        elif found is not None:
            skipped[found.path] = found
        if len(entries) > _MAX_FILES:
            raise InputError(
                f"{folder} has more than {_MAX_FILES:,} files to send",
                remedy=f"exclude some in .gitignore or {IGNORE_FILE}",
            )
    return Tree(
        tuple(entries[name] for name in sorted(entries, key=os.fsencode)),
        tuple(skipped[name] for name in sorted(skipped)),
        seen,
        ignore,
    )


def _read_ignore(inside: Inside) -> Ignore:
    """The patterns of `.hostlerignore`: only a plain file, never a link, never an endless file."""
    try:
        with inside.open(IGNORE_FILE) as file:
            data = file.read(_MAX_IGNORE + 1)
    except FileNotFoundError:
        return Ignore(())
    except OSError as error:
        raise InputError(
            f"{IGNORE_FILE} cannot be read: {error.strerror or 'it is no plain file'}",
            remedy="make it a plain file, not a link",
        ) from error
    if len(data) > _MAX_IGNORE:
        raise InputError(f"{IGNORE_FILE} is larger than 1 MiB", remedy="make it shorter")
    return Ignore(data.decode(errors="replace").splitlines())


def _included(inside: Inside, include: Sequence[str]) -> dict[str, bool]:
    """Every file that `include` names, in order, and whether by its exact path; a folder means all
    below it."""
    found: dict[str, bool] = {}
    folder = inside.root
    for pattern in include:
        plain = _plain(folder, pattern)
        if _is_file(folder / plain):
            found[plain] = True
            continue
        for name in _matches(inside, plain, pattern):
            found.setdefault(name, False)
    return found


def _plain(folder: Path, pattern: str) -> str:
    """The pattern without needless parts. Raises InputError where it leads out, or to git's own."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if not parts or "\0" in pattern or pattern.startswith("/") or not _OUTSIDE.isdisjoint(parts):
        raise InputError(f"include {pattern!r} is not a path inside {folder}")
    return "/".join(parts)


def _is_file(path: Path) -> bool:
    try:
        return path.is_symlink() or path.is_file()
    except OSError:
        return False


def _matches(inside: Inside, plain: str, pattern: str) -> Iterator[str]:
    folder = inside.root
    whole = folder / plain
    if plain.split("/")[-1] == "**":
        plain += "/*"  # as Python 3.13 has it; before, it is folders alone
    # "**" matches the folder itself as well.
    found = [whole] if whole.is_dir() else sorted(p for p in folder.glob(plain) if p != folder)
    if not found:
        raise InputError(f"include {pattern!r} matches nothing in {folder}")
    for path in found:
        name = path.relative_to(folder).as_posix()
        if GIT in name.split("/"):
            continue
        if inside.is_folder(name):  # with no link on the way: nothing is looked up elsewhere
            yield from (f"{name}/{inner}" for inner in _walk(path, Ignore(())))
        else:
            yield name


def _walk(folder: Path, ignore: Ignore) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read ({error.strerror})") from error

    for place, folders, files in os.walk(folder, onerror=fail):
        prefix = os.path.relpath(place, folder)
        base = "" if prefix == "." else prefix + "/"
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]  # noqa: PTH114, PTH118
        folders[:] = sorted(
            name
            for name in folders
            if name != ".git"
            and name not in links
            and not ignore.leaves_out(base + name, is_folder=True)
        )
        for name in sorted((*files, *links)):
            if name != ".git" and not ignore.leaves_out(base + name):
                yield base + name


def _entry(inside: Inside, name: str) -> Entry | Skipped | None:
    """The present file; None if it was removed meanwhile, or is a folder now."""
    try:
        found = inside.lstat(name)
        if stat.S_ISLNK(found.st_mode):
            target = inside.readlink(name)
            if link_stays_inside(name, target):
                return Entry(name, 0, target=target)
            return Skipped(name, f"the link leads out of the folder, to {target}")
    except LinkOnTheWay as error:
        # Named once: thousands of files may be tracked below it.
        return Skipped(
            f"{error.name}/", f"files are listed below it, but it is a link to {error.target}"
        )
    except LeadsOut:
        return Skipped(name, "the name leads out of the folder")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{name} cannot be packed: {error.strerror}") from error
    if stat.S_ISDIR(found.st_mode):
        return None
    if not stat.S_ISREG(found.st_mode):
        return Skipped(name, "neither a file nor a link")
    return Entry(name, found.st_size, executable=bool(found.st_mode & stat.S_IXUSR))
