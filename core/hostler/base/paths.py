"""Paths of Hostler's files: configuration, state folder, the daemon's socket, and which file
systems count as network ones. Looks, never creates.
"""

from __future__ import annotations

import os

from hostler.base.errors import ConfigError
from hostler.base.text import is_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_SOCKET = "/run/hostler/hostler.sock"
SYSTEM_CONFIG = "/etc/hostler/config.toml"
SOCKET_NAME = "hostler.sock"
SHARING = ("group", "allow", "operators")
"""Keys of [daemon] that let other users use a daemon: any of them makes it a shared daemon."""
NO_HOSTS = "no hosts are configured, so this is only your machine; add some: hostler init HOST..."

# SQLite's locks, Unix sockets and flock are not to be trusted on these.
REMOTE_TYPES = frozenset(
    {
        "9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.beegfs", "fuse.ceph",
        "fuse.ceph-fuse", "fuse.glusterfs", "fuse.juicefs", "fuse.mfs", "fuse.rclone", "fuse.s3fs",
        "fuse.sshfs", "fuse.vmhgfs-fuse", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
        "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb3", "smbfs", "vboxsf",
        "virtiofs", "vmhgfs", "wekafs",
    }
)  # fmt: skip


def config_files(environ: Mapping[str, str] | None = None) -> list[str]:
    """The configuration files that are read, in order: the later one wins.

    `HOSTLER_CONFIG` names the only one. Raises ConfigError where it is not there: what it says
    would be missed without a word.
    """
    env = os.environ if environ is None else environ
    if env.get("HOSTLER_CONFIG"):
        _require(user_config(env))
    return _would_be_read(env)


def _require(path: str) -> None:
    try:
        os.stat(path)
    except OSError as error:
        raise ConfigError(
            f"HOSTLER_CONFIG names {path}: {error.strerror}",
            remedy="Correct or unset it, or write that file: hostler init HOST...",
        ) from error


def _would_be_read(env: Mapping[str, str]) -> list[str]:
    own = user_config(env)
    return [own] if env.get("HOSTLER_CONFIG") else [SYSTEM_CONFIG, own]


def is_configured() -> bool:
    """Whether any configuration file exists."""
    return any(os.path.exists(path) for path in _would_be_read(os.environ))


def user_config(environ: Mapping[str, str] | None = None) -> str:
    """The person's own configuration file: `hostler init` writes it."""
    env = os.environ if environ is None else environ
    if env.get("HOSTLER_CONFIG"):
        return os.path.abspath(env["HOSTLER_CONFIG"])
    base = _xdg(env, "XDG_CONFIG_HOME") or os.path.join(_home(env), ".config")
    return os.path.join(base, "hostler", "config.toml")


def configured(path: str, key: str) -> str | None:
    """The path that a configuration file gives to a key of [daemon]. Raises ConfigError where the
    file cannot be read."""
    value = daemon_table(path, (key,)).get(key)
    return os.path.expanduser(value) if isinstance(value, str) and value else None


def daemon_table(path: str, keys: tuple[str, ...]) -> dict[str, object]:
    """[daemon] of a configuration file, empty where it has none of these keys. Raises ConfigError
    where the file cannot be read."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        closed = isinstance(error, PermissionError)
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror})",
            remedy=f"As its owner: chmod a+rX {os.path.dirname(path)} {path}" if closed else "",
        ) from error
    if not any(key.encode() in data for key in keys):
        return {}  # parsing TOML costs more than asking the daemon
    import tomllib

    try:
        table = tomllib.loads(data.decode("utf-8")).get("daemon")
    except ValueError as error:
        raise ConfigError(
            f"{path}: {error}", remedy="Correct the file; `hostler config show` checks it"
        ) from error
    return table if isinstance(table, dict) else {}


def state_folder(environ: Mapping[str, str] | None = None, mounts: str | None = None) -> str:
    """The folder for database, logs and socket of the personal daemon.

    `HOSTLER_STATE`, else `state` of the person's own file (that of the system's is a shared
    daemon's), else XDG_STATE_HOME/hostler, or, where that is on a network file system,
    /var/tmp/hostler-UID/state. `mounts` is the text of /proc/self/mountinfo (tests give their own).
    Raises ConfigError for a `HOSTLER_STATE` that cannot be a folder, or is another one after `cd`,
    and for a file that cannot be read.
    """
    folder = _state_folder(os.environ if environ is None else environ, mounts)
    if not is_text(folder):
        raise ConfigError(
            f"the path of the state folder is not UTF-8: {folder!r}",
            remedy="Set HOSTLER_STATE to a folder of your own whose name is",
        )
    return folder


def _state_folder(env: Mapping[str, str], mounts: str | None) -> str:
    if env.get("HOSTLER_STATE"):
        return _named_state(env["HOSTLER_STATE"])
    own = configured(user_config(env), "state")
    if own is not None:
        return own
    base = _xdg(env, "XDG_STATE_HOME") or os.path.join(_home(env), ".local", "state")
    folder = os.path.join(base, "hostler")
    if is_remote(folder, _read_mounts() if mounts is None else mounts):
        return f"/var/tmp/hostler-{os.getuid()}/state"
    return folder


def _named_state(folder: str) -> str:
    if not os.path.isabs(folder):
        raise ConfigError(
            f"HOSTLER_STATE must be an absolute path: {folder}",
            remedy=f"Set it to {os.path.abspath(folder)} if that is meant",
        )
    try:
        os.stat(os.path.join(folder, "."))
    except NotADirectoryError as error:
        raise ConfigError(
            f"HOSTLER_STATE names {folder}, which is not a folder",
            remedy="Set it to a folder of your own on a local disk",
        ) from error
    except OSError:
        pass  # it is made when the daemon is started, which tells what is wrong with it
    return folder


def is_remote(path: str, mounts: str) -> bool:
    """Whether `path` (which need not exist) is on a network file system."""
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5:
            continue
        point = fields[4].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        # Of two mounts on one point the later one covers the earlier.
        if inside and len(point) >= len(best):
            best, kind = point, after.split(" ", 1)[0]
    return kind in REMOTE_TYPES


def _read_mounts() -> str:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # not Linux: homes there are local far more often than not


def _xdg(env: Mapping[str, str], name: str) -> str | None:
    """A folder that an XDG variable names; relative paths are ignored, as the specification
    requires: they would name another folder after every `cd`."""
    value = env.get(name, "")
    return value if os.path.isabs(value) else None


def _home(env: Mapping[str, str]) -> str:
    return env.get("HOME") or os.path.expanduser("~")
