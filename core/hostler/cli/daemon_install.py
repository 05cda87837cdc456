"""`hostler daemon install`: the login, group, folders and systemd files of a shared or personal
daemon, when a file is replaced, and what is refused."""

from __future__ import annotations

import argparse
import contextlib
import grp
import os
import pwd
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostler.base import paths
from hostler.base.errors import ConfigError, ConflictError, InputError, StateError
from hostler.base.makers import doubt
from hostler.base.programs import own_argv, safe_environ
from hostler.base.text import clean
from hostler.cli.shared import note_for, out, out_json
from hostler.cli.units import (
    UNIT,
    Shared,
    UnitFile,
    first_config,
    is_unchanged,
    system_unit,
    tmpfiles,
    user_unit,
)
from hostler.daemon.config_file import load_config
from hostler.model.config import DaemonConfig

LOGIN = GROUP = "hostler"
HOME = "/var/lib/hostler"
_TMPFILES = "/etc/tmpfiles.d/hostler.conf"
_UNITS = "/etc/systemd/system"
_SYSTEMD = "/run/systemd/system"
"""This path exists if systemd runs this machine (see sd_booted(3))."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")


@dataclass(frozen=True, slots=True)
class Installation:
    """What to write, and what to run afterwards."""

    files: tuple[UnitFile, ...]
    next: tuple[str, ...]
    notes: tuple[str, ...] = ()
    is_shared: bool = False
    """All users may read the files."""


def run(args: argparse.Namespace) -> int:
    """Write the files, or only show them."""
    for_user = args.user or (os.geteuid() != 0 and not (args.group or args.login))
    if for_user and (args.group or args.login):
        raise InputError(
            "--user installs a personal daemon, which has no group and no other login",
            remedy="Leave out --group and --login, or --user",
        )
    wanted = for_one_user(os.environ) if for_user else for_a_group(args)
    if args.print:
        return _show(args, wanted)
    if not Path(_SYSTEMD).is_dir():
        raise StateError(
            "this machine does not run systemd: nothing was written",
            remedy="Let your service manager run `hostler serve`; "
            "`hostler daemon install --print` prints the files for systemd",
        )
    if not for_user and os.geteuid() != 0:
        raise InputError(
            "only root can install a shared daemon",
            remedy="Use sudo; --print shows the files, --user installs a personal daemon",
        )
    done = write(wanted.files, is_shared=wanted.is_shared)
    _tell(args, wanted, done)
    return 0


def for_one_user(environ: Mapping[str, str]) -> Installation:
    """A user's own daemon, started at login or boot."""
    env = safe_environ(environ)
    base = env.get("XDG_CONFIG_HOME") or f"{env.get('HOME') or Path.home()}/.config"
    text = user_unit(own_argv("serve", "--personal"), env)
    return Installation(
        files=(UnitFile(f"{base}/systemd/user/{UNIT}", text),),
        next=(
            "hostler daemon stop",
            "systemctl --user daemon-reload",
            "systemctl --user enable --now hostler",
            "loginctl enable-linger    # to run while you are logged out",
        ),
    )


def for_a_group(args: argparse.Namespace) -> Installation:
    """A shared daemon, from the system's configuration or a first one."""
    login, config = args.login or LOGIN, paths.SYSTEM_CONFIG
    settings, first = _settings(args.group, config)
    if not args.print:
        _check_people(login, settings.group)
    shared = _shared(login, settings)
    argv = own_argv("serve", "--config", config)
    files = [
        *first,
        UnitFile(_TMPFILES, tmpfiles(shared)),
        UnitFile(f"{_UNITS}/{UNIT}", system_unit(shared, argv)),
    ]
    commands = [
        f"systemd-tmpfiles --create {_TMPFILES}",
        "systemctl daemon-reload",
        "systemctl enable hostler",
        "systemctl restart hostler",
    ]
    if settings.group:
        commands.append(f"usermod -aG {settings.group} USER    # for each member")
    notes = [*_closed_to(login), *_open_to_others(login), *_closed_config(config)]
    return Installation(tuple(files), tuple(commands), tuple(notes), is_shared=True)


def _settings(group: str | None, config: str) -> tuple[DaemonConfig, list[UnitFile]]:
    """[daemon] of the system's configuration, and that file if it has to be written."""
    if not os.path.lexists(config):
        group = _named(group or GROUP, "--group")
        settings = DaemonConfig(group=group, state=f"{HOME}/state")
        return settings, [UnitFile(config, first_config(group, f"{HOME}/state"))]
    settings = load_config(config).daemon
    if group is not None and settings.group != group:
        raise ConfigError(
            f"{config} says " + (f'group = "{settings.group}"' if settings.group else "no group"),
            remedy=f'Write group = "{group}" there under [daemon]: Hostler does not change '
            "this file",
        )
    if not settings.is_shared:
        raise ConfigError(
            f"{config} names no users of a shared daemon",
            remedy='Write group = "NAME" there under [daemon]',
        )
    return settings, []


def _shared(login: str, settings: DaemonConfig) -> Shared:
    socket = settings.socket or paths.SYSTEM_SOCKET
    state = settings.state or ""
    return Shared(
        login=_named(login, "--login"),
        login_group=_group_of(login),
        group=_named(settings.group, "group") if settings.group else None,
        open_to_users=bool(settings.allow or settings.operators),
        socket_folder=_folder_to_make(socket, login),
        home=HOME if state == HOME or state.startswith(f"{HOME}/") else None,
    )


def _folder_to_make(socket: str, login: str) -> str | None:
    """The folder that is to be there after each boot, the login's own; None where it lies
    elsewhere, or belongs to another user: /run/lock would be taken from all who use it."""
    folder = str(Path(socket).parent)
    if not re.fullmatch(r"/run(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+", folder):
        return None
    if socket == paths.SYSTEM_SOCKET:
        return folder
    try:
        owner = os.lstat(folder).st_uid
        return folder if owner == pwd.getpwnam(login).pw_uid else None
    except (OSError, KeyError):
        return folder


def _named(name: str, what: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"{what}: {name!r} is not allowed as a user or group in files of systemd")
    return name


def _group_of(login: str) -> str:
    try:
        return grp.getgrgid(pwd.getpwnam(login).pw_gid).gr_name
    except KeyError:
        return login


def _check_people(login: str, group: str | None) -> None:
    """Raise InputError if the login or the group does not exist, or should not be used."""
    _named(login, "--login")
    if group is not None:
        _named(group, "group")
    try:
        user = pwd.getpwnam(login)
    except KeyError:
        raise InputError(
            f"there is no user {login!r} to run the daemon",
            remedy=f"Create one: useradd --system --create-home --home-dir {HOME} {login}; "
            "or name another: --login USER",
        ) from None
    if user.pw_uid == 0:
        raise InputError(
            "a shared daemon of root would run the work of all users as root",
            remedy="Name another user: --login USER",
        )
    try:
        grp.getgrnam(group or _group_of(login))
    except KeyError:
        raise InputError(
            f"there is no group {group!r}", remedy=f"Create it: groupadd {group}"
        ) from None


def _closed_to(login: str) -> list[str]:
    """A warning if the login cannot run this Hostler because it lies in a user's home."""
    try:
        user = pwd.getpwnam(login)
        groups = os.getgrouplist(login, user.pw_gid)
    except (KeyError, OSError):
        return []
    places_of_it = (os.path.realpath(sys.executable), sys.executable, __file__)
    on_the_way = {folder: None for path in places_of_it for folder in reversed(Path(path).parents)}
    for folder in on_the_way:
        if not _may_enter(folder, user.pw_uid, groups):
            return [
                f"the user {login} may not enter {folder}, the folder of this Hostler: install it "
                "where all users can run it (docs/admin.md says how), then run this again"
            ]
    return []


def _open_to_others(login: str) -> list[str]:
    """A warning if users other than root could change the program that the login runs."""
    try:
        uid = pwd.getpwnam(login).pw_uid
    except KeyError:
        return []
    for path in (sys.executable, __file__):
        why = doubt(path, uid)
        if why is not None:
            return [
                f"other users could change this Hostler installation, which {login} runs: "
                f"{why}; install it where "
                "only root may write (docs/admin.md says how), then run this again"
            ]
    return []


def _closed_config(config: str) -> list[str]:
    """A warning if an existing configuration cannot be read by users whose commands need it."""
    path = Path(config)
    for each, what, right in ((path.parent, "enter", 0o001), (path, "read", 0o004)):
        with contextlib.suppress(OSError):
            if not each.stat().st_mode & right:
                return [
                    f"not all users may {what} {each}: every user's commands read {config} and "
                    f"fail without it; chmod a+{'x' if what == 'enter' else 'r'} {each}"
                ]
    return []


def _may_enter(folder: Path, uid: int, groups: Sequence[int]) -> bool:
    try:
        found = folder.stat()
    except OSError:
        return True  # nothing to be said of it
    opens = 0o100 if found.st_uid == uid else 0o010 if found.st_gid in groups else 0o001
    return bool(found.st_mode & opens)


def write(files: Sequence[UnitFile], *, is_shared: bool = False) -> dict[str, str]:
    """Write missing files, and replace files that no person has changed; path -> what was done.

    Raises ConflictError, before anything is written, for a file that a person has changed;
    StateError where one cannot be written.
    """
    todo = {file: _due(file) for file in files}
    fresh: list[tuple[Path, Path]] = []
    path = Path(files[0].path)
    try:
        for file, due in todo.items():
            path = Path(file.path)
            if due != "unchanged":
                _make(path.parent, is_shared=is_shared)
                fresh.append((_beside(path, file.text), path))
        for new, path in fresh:
            new.replace(path)
    except OSError as error:
        for new, _path in fresh:
            new.unlink(missing_ok=True)
        raise StateError(
            f"{path} cannot be written ({error.strerror})",
            remedy="Correct that, then run this again",
        ) from error
    return {file.path: due for file, due in todo.items()}


def _make(folder: Path, *, is_shared: bool) -> None:
    """Make a folder and its missing parents; readable by all users on request, whatever root's
    umask is."""
    if folder.is_dir():
        return
    _make(folder.parent, is_shared=is_shared)
    folder.mkdir(mode=0o755, exist_ok=True)
    if is_shared:
        folder.chmod(0o755)


def _beside(path: Path, text: str) -> Path:
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
        os.fchmod(handle, 0o644)
        file.write(text)
        file.flush()
        os.fsync(handle)
    return new


def _due(file: UnitFile) -> str:
    """What to do with a file: "written", "replaced", "unchanged". Raises ConflictError."""
    path = Path(file.path)
    if path.is_symlink():
        raise _changed(file, f"is a link to {path.readlink()}")
    try:
        there = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return "written"
    except OSError as error:
        raise StateError(f"{path} cannot be read ({error.strerror})") from error
    if there == file.text:
        return "unchanged"
    if is_unchanged(there):
        return "replaced"
    raise _changed(file, "was changed, or not written by hostler")


def _changed(file: UnitFile, how: str) -> ConflictError:
    return ConflictError(
        f"{file.path} {how}: nothing was written",
        remedy="Compare it with `hostler daemon install --print`, move it away, and run this "
        "again; a drop-in (systemctl edit) keeps changes apart",
    )


def _show(args: argparse.Namespace, wanted: Installation) -> int:
    if args.json:
        files = [{"path": file.path, "text": file.text} for file in wanted.files]
        out_json("install", {"files": files, "next": list(wanted.next)})
        return 0
    texts = [f"### {file.path}\n{file.text}" for file in wanted.files]
    sys.stdout.write(clean("\n".join(texts), keep_newlines=True))
    return 0


def _tell(args: argparse.Namespace, wanted: Installation, done: Mapping[str, str]) -> None:
    if args.json:
        files = [{"path": path, "done": what} for path, what in done.items()]
        out_json("install", {"files": files, "next": list(wanted.next)})
        return
    for path, what in done.items():
        if not args.quiet:
            out(f"{what}: {path}")
    for said in wanted.notes:
        note_for(args)(said)
    if not args.quiet:
        out("next, run:")
        for command in wanted.next:
            out(f"  {command}")
