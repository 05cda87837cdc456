"""The path and folder permissions of the daemon's socket, and the warnings why members cannot reach
it.
"""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path

from hostler.base import paths
from hostler.base.errors import ConfigError
from hostler.base.makers import doubt
from hostler.base.users import user_name
from hostler.model.config import Config, DaemonConfig

_ELSEWHERE = (
    "As root, let `hostler daemon install` make it; or name a `socket` under [daemon] in a folder "
    "that belongs to this login and that they may enter"
)


def socket_path(config: Config, state: Path, *, personal: bool) -> Path:
    """The socket's path. A personal daemon's is beside its state, even if the config names one for
    a shared daemon. A shared daemon's is the one in the config, else the default of this machine's
    clients: other users may not enter the state folder."""
    settings = config.daemon
    if not personal and settings.socket is not None:
        return Path(settings.socket).expanduser()
    if not personal and settings.is_shared:
        return Path(paths.SYSTEM_SOCKET)
    return state / paths.SOCKET_NAME


def group_id(name: str | None) -> int | None:
    """The id of the group in the config. Raises ConfigError if the machine has no group of that
    name."""
    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(
            f"the group {name!r} of [daemon] group does not exist on this machine",
            remedy=f"As root: groupadd {name}",
        ) from None


def prepare_folder(path: Path, settings: DaemonConfig) -> None:
    """Give authorised users access to the folder of the socket, if it is the default one.

    Raises ConfigError if there is no such folder that this login may write to.
    """
    folder = path.parent
    if str(path) != paths.SYSTEM_SOCKET:
        return  # somebody chose it, and its rights
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"this daemon is shared, but the folder {folder} for its socket does not exist",
            remedy=_ELSEWHERE,
        ) from error
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
        _open(folder, settings)
    elif not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"this daemon is shared, but its login may not write to {folder}, the folder of its "
            "socket",
            remedy=_ELSEWHERE,
        )


def _open(folder: Path, settings: DaemonConfig) -> None:
    """Open the folder to the group, so that new files in it get the group: a login outside the
    group could not give it to the socket, and would remove it with each change of the mode."""
    gid, found = group_id(settings.group), folder.stat()
    wanted = 0o2755 if settings.allow or settings.operators or gid is None else 0o2750
    mode = stat.S_IMODE(found.st_mode)
    if gid is None or os.geteuid() == 0 or gid in (os.getegid(), *os.getgroups()):
        if gid is not None and found.st_gid != gid:
            os.chown(folder, -1, gid)
        folder.chmod(wanted)
    elif found.st_gid != gid or mode & wanted != wanted or mode & 0o022:
        raise _not_in_group(folder, settings.group)


def _not_in_group(folder: Path, group: str | None) -> ConfigError:
    user = user_name(os.geteuid())
    return ConfigError(
        f"the folder {folder} should belong to the group {group}, but {user} is not in that group",
        remedy=f"As root: usermod -aG {group} {user}; or run `hostler daemon install`, and start "
        "the daemon by systemd",
    )


def complaints(path: Path, settings: DaemonConfig) -> list[str]:
    """Sentences about why authorised users cannot reach the socket, or why their commands will not
    trust it."""
    if not settings.is_shared:
        return []
    whom = []
    if settings.group:
        whom.append((f"members of {settings.group}", group_id(settings.group)))
    if settings.allow or settings.operators:
        whom.append(("users in `allow` and `operators`", None))
    found = [
        f"{people} cannot reach the socket {path}: they may not enter {folder}"
        for people, gid in whom
        for folder in path.parents
        if not _may_enter(folder, gid)
    ]
    why = doubt(str(path), os.geteuid())
    if why is not None:
        found.append(f"commands of other users will not trust the socket {path}: {why}")
    return found


def _may_enter(folder: Path, gid: int | None) -> bool:
    about = folder.stat()
    return bool(about.st_mode & 0o001 or (about.st_gid == gid and about.st_mode & 0o010))
