"""Finds the daemon's socket (flag, HOSTLER_SOCKET, config, system, personal), checks who
listens, sends a request; default timeout, remedies without an answer."""

from __future__ import annotations

import json
import os
import socket
import sys
import time

from hostler.base import paths
from hostler.base.errors import HostlerError, NoDaemonError, error_from_json
from hostler.base.version import API_LEVEL
from hostler.base.wire import Response, WireError, encode_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    T = TypeVar("T")

DEFAULT_TIMEOUT = 5.0
HOSTS_DEADLINE = 3.0
"""Seconds that hosts get to answer a newly started daemon."""
_HOSTS_EVERY = 0.1
QUEUE_PAUSE = 0.02
"""Seconds between attempts to connect while more callers wait than the daemon's queue holds."""
MOST_OF_VALUE = 256 * 1024 * 1024
"""Bytes of a JSON value: no daemon sends more."""
_MOST_DIGITS = 20
"""The most digits of a whole number with its sign: 64 bits."""
_COMMON = ("/tmp/", "/var/tmp/", "/dev/shm/")


class Found:
    """A socket path, and where it was named: "flag", "environment", "config", "system" or
    "personal". Only a personal daemon may be started by a client. `hint`: why it is not the shared
    daemon of this machine, where there is one."""

    __slots__ = ("hint", "origin", "path", "server")

    def __init__(self, path: str, origin: str, hint: str = "") -> None:
        self.path = path
        self.origin = origin
        self.hint = hint
        self.server: int | None = None
        """The uid that listens there, known after connecting."""

    @property
    def personal(self) -> bool:
        """No daemon is named: it is the user's own, which may not run yet."""
        return self.origin == "personal"

    @property
    def is_own(self) -> bool:
        """The caller's or root's own daemon answers there, who could do whatever it does."""
        return self.server in (0, os.geteuid())


def find_socket(
    named: str | None = None,
    environ: Mapping[str, str] | None = None,
    system: str | None = None,
) -> Found:
    """The socket to speak with: named, HOSTLER_SOCKET, config, the system's, one's own.

    The system's is that of a shared daemon, also where it does not run or may not be reached and
    the caller is one of those whom it is for.

    Raises ConfigError where a configuration file cannot be read, or HOSTLER_STATE cannot be used.
    """
    env = os.environ if environ is None else environ
    if named:
        return Found(named, "flag")
    if env.get("HOSTLER_SOCKET"):
        return Found(env["HOSTLER_SOCKET"], "environment")
    files = paths.config_files(env)
    for path in reversed(files):
        configured = paths.configured(path, "socket")
        if configured:
            return Found(configured, "config")
    system = paths.SYSTEM_SOCKET if system is None else system
    hint = _why_not_shared(system, files)
    if hint is None:
        return Found(system, "system")
    return Found(os.path.join(paths.state_folder(env), paths.SOCKET_NAME), "personal", hint)


def _why_not_shared(system: str, files: list[str]) -> str | None:
    """Why the caller does not use the shared daemon of this machine, "" where there is none; None
    where they do."""
    closed = False
    try:
        os.stat(system)
        return None
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError:
        closed = True  # a folder on the way may not be entered
    config = paths.SYSTEM_CONFIG
    table = paths.daemon_table(config, paths.SHARING) if config in files else {}
    if not closed and not any(table.get(key) for key in paths.SHARING):
        return ""
    from hostler.quick.shared import why_not_meant  # asking for users and groups takes time

    return why_not_meant(system, table, closed=closed)


def connect(found: Found, timeout: float | None = DEFAULT_TIMEOUT) -> socket.socket:
    """A connection. Raises NoDaemonError with the socket and the remedy."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        _reach(connection, found.path, timeout)
    except OSError as error:
        connection.close()
        raise unreachable(found, error) from error
    try:
        check_server(found, connection)
    except NoDaemonError:
        connection.close()
        raise
    return connection


def _reach(connection: socket.socket, path: str, timeout: float | None) -> None:
    """Connect; with a timeout, Linux does not wait by itself for a place in the listener's queue.
    Raises OSError."""
    ends = time.monotonic() + (timeout or 0.0)
    while True:
        try:
            connection.connect(path)
            return
        except BlockingIOError:
            if time.monotonic() > ends:
                raise TimeoutError("its queue of connections is full") from None
        time.sleep(QUEUE_PAUSE)


def check_server(found: Found, connection: socket.socket) -> None:
    """Raise NoDaemonError if the listener may be a stranger. A personal daemon must be a process of
    the user or of root, and so must a daemon whose socket is in a world-writable folder. The socket
    of a daemon that the configuration or the system names must be one that only root, the caller or
    the listener could have made."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return  # not Linux: such a client has no daemon of its own
    credentials = connection.getsockopt(socket.SOL_SOCKET, option, 12)
    uid = found.server = int.from_bytes(credentials[4:8], sys.byteorder)
    if uid in (0, os.geteuid()):
        return
    if not _has_to_be_ours(found):
        _check_makers(found, uid)
        return
    raise NoDaemonError(
        f"the socket {found.path} is not yours: uid {uid} listens there",
        remedy="Ask root or its owner to remove it, or set HOSTLER_STATE to a folder of your own "
        "on a local disk"
        if found.personal
        else "To use that daemon, name it in config.toml: `socket` under [daemon]",
    )


def _check_makers(found: Found, uid: int) -> None:
    if found.origin not in ("config", "system"):
        return  # a person has just named it
    from hostler.base.makers import doubt

    why = doubt(found.path, uid)
    if why is not None:
        raise NoDaemonError(
            f"the daemon at {found.path} is not trusted: uid {uid} listens there, and {why}",
            remedy="Ask its owner to move the socket to a folder that only root and the daemon's "
            "login may "
            "write to (`hostler daemon install` makes one)",
        )


def _has_to_be_ours(found: Found) -> bool:
    if found.personal:
        return True
    real = os.path.realpath(found.path)
    return found.origin in ("flag", "environment") and real.startswith(_COMMON)


def unreachable(found: Found, error: Exception) -> NoDaemonError:
    """The error for a socket that cannot be connected to or does not answer."""
    if isinstance(error, PermissionError):
        from hostler.quick.shared import access_remedy

        return NoDaemonError(
            f"no access to the daemon at {found.path}", remedy=access_remedy(found.path)
        )
    remedy = _REMEDIES[found.origin]
    if isinstance(error, TimeoutError):
        why = "does not answer"
        remedy = _BUSY if found.personal else remedy
    elif isinstance(error, FileNotFoundError):
        why = "is not running: the socket does not exist"
    elif isinstance(error, ConnectionRefusedError):
        why = "is not running: the socket refuses connections"
    elif isinstance(error, NotADirectoryError):
        why = "cannot exist: a part of that path is not a folder"
        remedy = _NO_FOLDER if found.personal else remedy
    else:
        why = f"cannot be asked ({error})"
    return NoDaemonError(f"the daemon at {found.path} {why}", remedy=remedy)


def is_lost(error: NoDaemonError) -> bool:
    """Whether the connection ended after it had been made: the daemon may have ended with it."""
    return isinstance(error.__cause__, (WireError, ConnectionResetError, BrokenPipeError))


_REMEDIES = {
    "flag": "Check --socket",
    "environment": "Check HOSTLER_SOCKET, or unset it to use your own daemon",
    "config": "Check `socket` under [daemon] in the configuration, or start that daemon",
    "system": "Ask the administrator of this machine to check it: systemctl status hostler",
    "personal": "Start it with `hostler daemon start`",
}
_BUSY = "It may be busy: try again; its log is daemon.log beside that socket"
_NO_FOLDER = "Set HOSTLER_STATE to a folder of your own on a local disk"


def ask(
    found: Found,
    method: str,
    target: str,
    body: object = None,
    timeout: float | None = DEFAULT_TIMEOUT,
) -> Any:
    """One request and its JSON answer (None where it has no body).

    Raises NoDaemonError, or the error in the daemon's answer.
    """
    data = b"" if body is None else json.dumps(body).encode("utf-8")
    status, payload = exchange(found, encode_request(method, target, body=data), timeout)
    return decode_answer(status, payload)


def heard(
    ask_again: Callable[[], T], is_new: Callable[[T], bool], within: float = HOSTS_DEADLINE
) -> T:
    """The answer of a daemon, asked for again while it is new: a daemon that has just started has
    not heard from its hosts. After `within` seconds a new one is the answer, too."""
    deadline = time.monotonic() + within
    while is_new(answer := ask_again()) and time.monotonic() < deadline:
        time.sleep(_HOSTS_EVERY)
    return answer


def exchange(
    found: Found, request: bytes, timeout: float | None = DEFAULT_TIMEOUT
) -> tuple[int, bytes]:
    """Send an encoded request; the answer's status and body. Raises NoDaemonError."""
    connection = connect(found, timeout)
    try:
        connection.sendall(request)
        return _receive(connection, Response(head_only=request.startswith(b"HEAD ")))
    except (OSError, WireError) as error:
        raise unreachable(found, error) from error
    finally:
        connection.close()


def _receive(connection: socket.socket, response: Response) -> tuple[int, bytes]:
    """Status and body. Raises OSError, WireError, HostlerError."""
    parts, size = [], 0
    while not response.done:
        data = connection.recv(262144)
        if not data:
            response.end()
            break
        parts.append(fed(response, data))
        size = checked_size(size + len(data))
    return response.status, b"".join(parts)


def fed(response: Response, data: bytes) -> bytes:
    """The body's bytes in what arrived. Raises HostlerError if an answer starts as HTTP and becomes
    invalid, WireError if it was never HTTP."""
    try:
        return response.feed(data)
    except WireError as error:
        if not response.status:
            raise
        raise unreadable(str(error)) from error


def checked_size(size: int) -> int:
    """The size of one value in bytes. Raises HostlerError if it is larger than any value from a
    daemon."""
    if size > MOST_OF_VALUE:
        raise unreadable("it has no end")
    return size


def unreadable(why: str) -> HostlerError:
    """The error for an answer that no daemon of this version sends."""
    return HostlerError(
        f"the daemon's answer could not be read: {why}",
        remedy="Check with `hostler daemon status` which daemon answers, and its version",
    )


def parse(text: bytes) -> Any:
    """A JSON value from a daemon. Raises ValueError, also if it is nested too deep or has a number
    that no field can hold."""
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError("a number of too many digits")
    return int(digits)


def decode_answer(status: int, payload: bytes) -> Any:
    """The JSON value of a good answer; raises the error of a bad one."""
    try:
        value = parse(payload) if payload else None
    except ValueError as error:
        raise unreadable(f"it is not JSON (status {status})") from error
    if status < 400:
        return value
    described = value.get("error") if isinstance(value, dict) else None
    if isinstance(described, dict):
        raise error_from_json(described)
    raise HostlerError(f"the daemon answered with status {status}")


def check_level(level: object, version: object) -> None:
    """Raise HostlerError if a daemon of this version speaks another level of the API."""
    if level == API_LEVEL:
        return
    newer = isinstance(level, int) and level > API_LEVEL
    raise HostlerError(
        f"the daemon (version {version}) uses API level {level}, this client uses level "
        f"{API_LEVEL}",
        remedy="Upgrade hostler here" if newer else "Ask the owner of the daemon to upgrade it",
    )


def check_level_of(server: str) -> None:
    """The same from the `Server` header of an answer. Daemons without the header have level 1."""
    words = dict(word.partition("/")[::2] for word in server.split())
    level = words.get("API", "1")
    check_level(int(level) if level.isdecimal() else level, words.get("Hostler", "unknown"))
