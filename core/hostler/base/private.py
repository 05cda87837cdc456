"""Makes and checks a private folder: other users cannot read, change or replace it.

Standard library only: the client makes the folder before it starts a daemon, and the daemon again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from hostler.base.errors import StateError
from hostler.base.users import user_name

_MOST_LINKS = 40
_ELSEWHERE = "set HOSTLER_STATE, or `state` under [daemon], to a folder of your own on a local disk"


def make_private(folder: str) -> None:
    """Make a folder with mode 0700, and those above it that are not there, or check and tighten one
    that is there.

    Raises StateError if it is another user's or a link, or if a user other than root could put
    another one in its place; OSError where it cannot be made.
    """
    path = _walk(folder)
    found = os.lstat(path)
    if found.st_uid != os.geteuid():
        raise StateError(
            f"the folder {path} belongs to another user, {owner_name(found)}",
            remedy=f"ask root or its owner to remove it, or {_ELSEWHERE}",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        os.chmod(path, 0o700)


def _walk(folder: str) -> str:
    """The folder's path without links. Each step is taken only out of a folder in which only root
    and the caller can change what was seen there, so that nothing is swapped between the steps."""
    todo, at, links = names_of(absolute(folder)), "/", 0
    while todo:
        name = todo.pop()
        if name == "..":
            at = os.path.dirname(at)
            continue
        path = os.path.join(at, name)
        above, found = os.lstat(at), _seen_or_made(path)
        if stat.S_ISLNK(found.st_mode):
            links += 1
            target = _target(path, found, above, is_last=not todo)
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            at = "/" if target.startswith("/") else at
            todo += names_of(target)
            continue
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        if todo:
            _require_safe(path, found, above, folder)
        at = path
    return at


def absolute(folder: str) -> str:
    """The path from `/`, with links and `..` as they are."""
    # Who stands in a folder that was removed has no place, and needs none for an absolute path.
    return folder if os.path.isabs(folder) else os.path.join(os.getcwd(), folder)


def names_of(path: str) -> list[str]:
    """The names in a path, the last name first."""
    return [name for name in path.split("/") if name not in ("", ".")][::-1]


def _seen_or_made(path: str) -> os.stat_result:
    """The existing entry, or a new folder of ours if there was none."""
    try:
        return os.lstat(path)
    except FileNotFoundError:
        # Another process of ours may be faster, or somebody else: its owner is looked at.
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        return os.lstat(path)


def _target(path: str, found: os.stat_result, above: os.stat_result, *, is_last: bool) -> str:
    """Where a link leads that may be followed: one of ours or root's, in the place of the folder
    itself only if no other user can make files there."""
    target = os.readlink(path)
    if (is_last and _is_open(above)) or not _is_trusted(found, above):
        raise StateError(
            f"{path} is a link to {target}, made by {owner_name(found)}",
            remedy=f"ask root or its owner to remove it, or {_ELSEWHERE}",
        )
    return target


def _require_safe(path: str, found: os.stat_result, above: os.stat_result, folder: str) -> None:
    """Raise StateError for a folder on the way in which another user could replace the next one."""
    swapped = f"who could replace {folder}"
    if not _is_trusted(found, above):
        raise StateError(
            f"{path} belongs to another user, {owner_name(found)}, {swapped}",
            remedy=f"ask root or its owner to remove it, or {_ELSEWHERE}",
        )
    if _is_open(found) and not found.st_mode & stat.S_ISVTX:
        raise StateError(
            f"{path}, which belongs to {owner_name(found)}, is writable for other users, {swapped}",
            remedy=f"remove that permission (chmod go-w {path}), or {_ELSEWHERE}",
        )


def _is_open(found: os.stat_result) -> bool:
    """Whether others may make, rename and remove what is in a folder. In many places each person
    has a group of the same name, which may write everywhere: it has no other members."""
    mode = found.st_mode
    return bool(mode & 0o002 or (mode & 0o020 and found.st_gid and not _is_own_group(found)))


def _is_own_group(found: os.stat_result) -> bool:
    import grp
    import pwd

    try:
        return grp.getgrgid(found.st_gid).gr_name == pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        return False


def _is_trusted(found: os.stat_result, above: os.stat_result) -> bool:
    """Whether what lies in the folder `above` is ours or root's. Many a sandbox is a user namespace
    in which root has no number: there, what only root or we could put in its place is as good."""
    if found.st_uid in (0, os.geteuid()):
        return True
    return not _is_open(above) and not is_numbered(found.st_uid)


def is_numbered(uid: int) -> bool:
    """Whether this user namespace has that uid."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            ranges = [[int(word) for word in line.split()] for line in file]
    except OSError:
        return True
    return any(first <= uid < first + count for first, _outside, count in ranges)


def owner_name(found: os.stat_result) -> str:
    """The owner of a file, for people: name and uid."""
    name = user_name(found.st_uid)
    return f"{name} (uid {found.st_uid})" if name != str(found.st_uid) else f"uid {name}"
