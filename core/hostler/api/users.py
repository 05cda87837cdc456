"""Users and groups of this machine. Asking for them may mean asking a directory server."""

from __future__ import annotations

import grp
import os
import pwd


def in_group(uid: int, group: str) -> bool:
    """Whether the user is in the group, by this machine's user database."""
    try:
        user = pwd.getpwuid(uid)
        wanted = grp.getgrnam(group).gr_gid
        return wanted in os.getgrouplist(user.pw_name, user.pw_gid)
    except (KeyError, OSError):  # OSError: the directory server said neither yes nor no
        return False
