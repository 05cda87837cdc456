"""Which files of a folder are packed, and which are left out and why."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from hostler.errors import InputError
from hostler.packing import git
from hostler.packing.ignore import Ignore
from hostler.packing.tar import link_stays_inside

IGNORE_FILE = ".hostlerignore"
_MAX_FILES = 100_000

_SECRETS = (
    ".env", ".env.*", "*.env", ".envrc", "id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk",
    "id_ed25519", "id_ed25519_sk", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore",
    "*.ppk", ".netrc", ".pypirc", ".git-credentials", ".htpasswd", "credentials.json",
)  # fmt: skip
_HARMLESS = (".env.example", ".env.sample", ".env.template", ".env.dist")
_SECRET_FOLDERS = (".ssh", ".aws", ".gnupg", ".kube")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that was left out although it looked like part of the tree."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or symlink to pack."""

    path: str
    size: int
    executable: bool = False
    target: str | None = None
    """Of a symlink."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What to pack, sorted, and what not."""

    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...]
    by_git: bool

    @property
    def secrets(self) -> tuple[str, ...]:
        """Paths left out because they look like secrets."""
        return tuple(item.path for item in self.skipped if item.reason == _SECRET)


_SECRET = "looks like a secret"  # noqa: S105  # a reason for people


def choose(folder: Path, include: Sequence[str]) -> Tree:
    """What git sees, or without git all but what `.hostlerignore` names; never secrets.

    `include`: paths or glob patterns, relative, that are taken whatever else says no. Raises
    InputError when there are too many files, or a path of `include` does not exist.
    """
    by_git = git.is_repository(folder)
    ignore = _read_ignore(folder)
    listed = (
        (name for name in git.listed_files(folder) if not ignore.leaves_out(name))
        if by_git
        else _walk(folder, ignore)
    )
    wanted = _included(folder, include)
    entries: dict[str, Entry] = {}
    skipped: dict[str, Skipped] = {}
    for name in (*wanted, *listed):
        if name in entries or name in skipped:
            continue
        if name not in wanted and is_secret(name):
            skipped[name] = Skipped(name, _SECRET)
            continue
        found = _entry(folder, name)
        if isinstance(found, Entry):
            entries[name] = found
        elif found is not None:
            skipped[name] = found
        if len(entries) > _MAX_FILES:
            raise InputError(
                f"{folder} has more than {_MAX_FILES:,} files to send",
                remedy=f"leave some out by .gitignore or {IGNORE_FILE}",
            )
    return Tree(
        tuple(entries[name] for name in sorted(entries, key=os.fsencode)),
        tuple(skipped[name] for name in sorted(skipped)),
        by_git,
    )


def is_secret(name: str) -> bool:
    """Whether a path's name is one that keys and passwords are kept under."""
    *folders, last = name.split("/")
    if any(part in _SECRET_FOLDERS for part in folders):
        return True
    if last in _HARMLESS:
        return False
    return any(fnmatchcase(last.lower(), pattern) for pattern in _SECRETS)


def _read_ignore(folder: Path) -> Ignore:
    try:
        return Ignore((folder / IGNORE_FILE).read_text(errors="replace").splitlines())
    except FileNotFoundError:
        return Ignore(())


def _included(folder: Path, include: Sequence[str]) -> dict[str, None]:
    """Every file that `include` names, in order; a folder means all below it."""
    found: dict[str, None] = {}
    for pattern in include:
        if pattern.startswith("/") or ".." in pattern.split("/"):
            raise InputError(f"include {pattern!r} is not a path inside {folder}")
        matches = sorted(folder.glob(pattern))
        if not matches:
            raise InputError(f"include {pattern!r} matches nothing in {folder}")
        for path in matches:
            name = path.relative_to(folder).as_posix()
            if path.is_dir() and not path.is_symlink():
                found.update((f"{name}/{inner}", None) for inner in _walk(path, Ignore(())))
            else:
                found[name] = None
    return found


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


def _entry(folder: Path, name: str) -> Entry | Skipped | None:
    """The file as it is now; None when it went away meanwhile."""
    path = folder / name
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            target = os.readlink(path)  # noqa: PTH115  # as it is, not tidied
            if link_stays_inside(name, target):
                return Entry(name, 0, target=target)
            return Skipped(name, f"the link leads out of the folder, to {target}")
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return Skipped(name, "neither a file nor a link")
    return Entry(name, found.st_size, executable=bool(found.st_mode & stat.S_IXUSR))
