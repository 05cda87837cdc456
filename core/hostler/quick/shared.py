"""Explains why a user cannot reach this machine's shared daemon (not in its group, folder
closed), with the remedy."""

from __future__ import annotations

import grp
import os
import pwd
import stat

from hostler.base.users import user_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def why_not_meant(system: str, table: Mapping[str, object], *, closed: bool) -> str | None:
    """Why the shared daemon is not for the caller, as a sentence; None where it is.

    `table` is [daemon] of the system's configuration; `closed`: the socket's folder may not be
    entered, so that only the folder's group may use it.
    """
    user = user_name(os.geteuid())
    group = _named(table.get("group")) or (_group_name(_nearest(system).st_gid) if closed else "")
    users = [*_names(table.get("allow")), *_names(table.get("operators"))]
    if user in users or _runs_it(system, table) or (group and group in _own_groups()):
        return None
    whom = f"the group {group}, and you are not in it" if group else "others, and not you"
    return (
        f"the shared daemon of this machine ({system}) is for {whom}: this is a daemon of your "
        f"own. To use the shared one, ask for: {_to_be_let_in(group, user)}"
    )


def access_remedy(path: str) -> str:
    """The remedy for a socket that the caller may not reach."""
    found = _nearest(path)
    group, user = _group_name(found.st_gid), user_name(os.geteuid())
    opens = 0o010 if stat.S_ISDIR(found.st_mode) else 0o020
    if not found.st_mode & opens or found.st_gid in (os.getegid(), *os.getgroups()):
        owner = user_name(found.st_uid)
        return f"Ask {owner} to let {user} in: `group` or `allow` under [daemon] in config.toml"
    if group in _own_groups():
        return (
            f"You are in the group {group} since you logged in: log in again, or `newgrp {group}`"
        )
    return f"Ask for: {_to_be_let_in(group, user)}"


def _to_be_let_in(group: str, user: str) -> str:
    if not group or group == "root":
        return f"`{user}` under [daemon] allow in its configuration"
    return f"sudo usermod -aG {group} {user} (and log in again)"


def _runs_it(system: str, table: Mapping[str, object]) -> bool:
    """Whether the caller is root or the login that runs the daemon."""
    uid = os.geteuid()
    owned = (os.path.dirname(system), _named(table.get("state")))
    return uid == 0 or any(_owner(path) == uid for path in owned if path)


def _owner(path: str) -> int | None:
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def _nearest(path: str) -> os.stat_result:
    """The last visible part of a path: this part keeps the caller out."""
    path = os.path.abspath(path)
    while True:
        try:
            return os.stat(path)
        except OSError:
            path = os.path.dirname(path)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _own_groups() -> set[str]:
    """The caller's groups in the user database, including those added since the login."""
    try:
        user = pwd.getpwuid(os.geteuid())
        return {_group_name(gid) for gid in os.getgrouplist(user.pw_name, user.pw_gid)}
    except (KeyError, OSError):  # OSError: the directory server does not answer
        return set()


def _named(value: object) -> str:
    return value if isinstance(value, str) else ""


def _names(value: object) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
