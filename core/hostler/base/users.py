"""Names of Unix users."""

from __future__ import annotations

import os


def user_name(uid: int) -> str:
    """The Unix user of a uid; the number if it has no name."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def own_name() -> str:
    """The caller's Unix user; the number if it has no name."""
    return user_name(os.getuid())


def owner_named(owner: str | None) -> str | None:
    """The user that `--owner` names; `me` is the caller."""
    return own_name() if owner == "me" else owner
