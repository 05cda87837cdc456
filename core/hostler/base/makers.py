"""Finds folders on a path in which other users could have created the rest of the path."""

from __future__ import annotations

import os
import stat

from hostler.base.private import absolute, is_numbered, names_of, owner_name

_MOST_LINKS = 40


def doubt(path: str, server: int) -> str | None:
    """Why another user than root, the caller and `server` could have put something at `path`, as a
    clause; None if no other user could. The uid `server` may own folders on the way where only root
    or the caller could have given it that place."""
    todo, at, links = names_of(absolute(path)), "/", 0
    try:
        while todo:
            name = todo.pop()
            if name == "..":
                at = os.path.dirname(at)
                continue
            here = os.path.join(at, name)
            above, found = os.lstat(at), os.lstat(here)
            why = _why_open(at, above, found, server)
            if why is not None:
                return why
            if not stat.S_ISLNK(found.st_mode):
                at = here
                continue
            links += 1
            if links > _MOST_LINKS:
                return f"{here} is a link that leads in a circle"
            target = os.readlink(here)
            at = "/" if target.startswith("/") else at
            todo += names_of(target)
    except OSError as error:
        return f"{here} cannot be checked ({error.strerror})"
    return None


def _why_open(at: str, above: os.stat_result, found: os.stat_result, server: int) -> str | None:
    """Why another user could have put `found` into the folder `at`, which is `above`."""
    ours = (0, os.geteuid())
    if is_writable_by_others(above):
        if above.st_mode & stat.S_ISVTX and found.st_uid in ours and above.st_uid in ours:
            return None  # theirs could not be renamed into its place, nor ours out of it
        return f"other users may write to {at}"
    if above.st_uid in (*ours, server) or not is_numbered(above.st_uid):
        return None
    return f"{at} belongs to {owner_name(above)}"


def is_writable_by_others(found: os.stat_result) -> bool:
    """Whether users other than its owner may create and rename entries of a folder. A group whose
    only member is the owner does not count."""
    if found.st_mode & 0o002:
        return True
    return bool(found.st_mode & 0o020 and found.st_gid and not _is_owners_alone(found))


def _is_owners_alone(found: os.stat_result) -> bool:
    import grp
    import pwd

    try:
        owner, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid)
    except KeyError:
        return False
    return group.gr_name == owner and set(group.gr_mem) <= {owner}
