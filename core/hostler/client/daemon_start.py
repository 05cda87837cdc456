"""Finds the daemon; starts, stops and upgrades the personal one: how long that may take, and
lines of its log in errors."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from hostler.base.errors import ConfigError, HostlerError, NoDaemonError, StateError
from hostler.base.json_types import JsonTable
from hostler.base.private import make_private
from hostler.base.programs import own_argv, safe_environ
from hostler.base.version import __version__
from hostler.quick.socket import Found, ask, check_level, find_socket, is_lost, unreadable

if TYPE_CHECKING:
    from hostler.model.views.daemon import DaemonView

COMMAND = own_argv("serve", "--personal")
"""The command of the personal daemon."""

_PACKAGES = ("asyncssh", "docker", "fastapi", "sqlite_utils", "uvicorn")
"""Some packages that a daemon needs and a client does not."""
START_DEADLINE = 30.0
_UPGRADE_DEADLINE = 600.0
STOP_DEADLINE = 20.0
DYING = 2.0
"""Seconds after which a listener that ends connections unanswered is not taken for a daemon that is
just being killed."""
HELD = 5.0
"""Seconds to wait for a daemon that holds the state folder and does not answer: it begins, or it
ends. One that ends may need two."""
_POLL = 0.03
_LOG_TAIL = 5

Say = Callable[[str], object]
Why = Callable[[], HostlerError | None]
"""Why a daemon could not start; if known, its log is not quoted."""


def _unknown() -> None:
    return None


def ensure_daemon(named: str | None = None, say: Say | None = None, why: Why = _unknown) -> Found:
    """A socket with a daemon that answers; see `ensure`."""
    return ensure(find_socket(named), say, why)


def ensure(found: Found, say: Say | None = None, why: Why = _unknown) -> Found:
    """The socket, once a daemon answers on it. A personal one is started where none runs, and
    restarted where it is older than this client.

    Raises NoDaemonError where a named daemon does not answer or the personal one cannot start.
    """
    about = running(found)
    if about is None:
        if not found.personal:
            ask(found, "GET", "/v1/version")  # raises the error that names the socket
        if found.hint:
            _say(say, found.hint)
        _say(say, "starting your daemon")
        return start(found, why)
    if found.personal and is_older(str(about.get("version", "")), __version__):
        _say(
            say, f"restarting your daemon ({about.get('version')} -> {__version__}); runs continue"
        )
        stop(found)
        return start(found, why)
    check_level(about.get("api"), about.get("version"))
    if found.personal:
        _hand_over_ssh_agent(found, about)
    return found


def _hand_over_ssh_agent(found: Found, about: JsonTable) -> None:
    """Give the daemon this shell's SSH agent if its own is gone: the agent of the shell that
    started the daemon ends at logout."""
    ours, its = os.environ.get("SSH_AUTH_SOCK"), about.get("ssh_agent")
    if not ours or not ours.startswith("/") or ours == its or not os.path.exists(ours):
        return
    if not isinstance(its, str) or not os.path.exists(its):
        # A daemon that does not know how is of another version: it continues with what it has.
        with contextlib.suppress(HostlerError):
            ask(found, "POST", "/v1/ssh-agent", {"socket": ours})


def running(found: Found) -> JsonTable | None:
    """The daemon's description of itself; None if no daemon runs.

    Raises NoDaemonError if something listens but does not answer, or access is denied.
    """
    deadline = time.monotonic() + DYING
    while True:
        try:
            about = ask(found, "GET", "/v1/version")
            return about if isinstance(about, dict) else {}
        except NoDaemonError as error:
            cause = error.__cause__
            if isinstance(cause, (FileNotFoundError, ConnectionRefusedError)):
                return None
            # A process that is being killed accepts connections until its socket is closed.
            if not is_lost(error) or time.monotonic() > deadline:
                if isinstance(cause, ConnectionError):
                    return None
                raise
        time.sleep(_POLL)


def view_of_daemon(about: JsonTable) -> DaemonView:
    """The same as a view. Raises HostlerError if the value is not a valid one."""
    from hostler.model.codec import from_answer
    from hostler.model.views.daemon import DaemonView

    try:
        return from_answer(DaemonView, about)
    except ValueError as error:
        raise unreadable(str(error)) from error


def is_older(theirs: str, ours: str) -> bool:
    """Whether version `theirs` comes before `ours`; an invalid version is not older."""
    try:
        return _numbers(theirs) < _numbers(ours)
    except ValueError:
        return False


def _numbers(version: str) -> tuple[int, ...]:
    plain = version.split("+")[0]
    return tuple(int(part) for part in plain.split("."))


def start(found: Found, why: Why = _unknown) -> Found:
    """Start the personal daemon and wait until it answers. If several clients try at once, one of
    them starts it. Raises NoDaemonError with the last lines of its log if it cannot start."""
    _require_packages()
    folder = os.path.dirname(found.path)
    _private_folder(folder)
    deadline = time.monotonic() + START_DEADLINE
    with _starting_lock(f"{folder}/start.lock", deadline):
        if _another_answers(found, f"{folder}/daemon.lock"):
            return found  # another client was faster
        log = f"{folder}/daemon.log"
        before = said = _size(log)
        pid = _spawn(log)
        last = deadline + _UPGRADE_DEADLINE
        while time.monotonic() < min(deadline, last):
            if _answers(found):
                return found
            if _has_ended(pid):
                raise why() or _why_not(log, before)
            size = _size(log)
            if size != said:  # it says how far it is with the upgrade of a large database
                said, deadline = size, time.monotonic() + START_DEADLINE
            time.sleep(_POLL)
    raise NoDaemonError(
        f"your daemon did not answer within {START_DEADLINE:g} s", remedy=f"See its log, {log}"
    )


def _another_answers(found: Found, lock: str) -> bool:
    """Whether a daemon answers now. One that closed its socket may hold the folder a moment longer:
    until then, no other can start."""
    ends = time.monotonic() + HELD
    while running(found) is None:
        if not _is_held(lock) or time.monotonic() > ends:
            return False
        time.sleep(_POLL)
    return True


def _is_held(lock: str) -> bool:
    """Whether a process holds this lock file. Not by taking it: a daemon that starts now would find
    it taken."""
    try:
        number = str(os.stat(lock).st_ino)
        with open("/proc/locks", encoding="ascii", errors="replace") as file:
            rows = [line.split() for line in file]
    except OSError:
        return False
    return any(row[1:2] == ["FLOCK"] and row[5].endswith(f":{number}") for row in rows)


def _require_packages() -> None:
    """Raise NoDaemonError if only the client was installed (`pip install --no-deps`)."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise NoDaemonError(
            f"your daemon does not run, and this Python cannot start it: the package {missing[0]} "
            "is missing",
            remedy="Install Hostler with its dependencies here, or start the daemon from another "
            "installation: hostler daemon start",
        )


def _why_not(log: str, before: int) -> HostlerError:
    """Why the daemon ended at once: the lines that it added to its log."""
    return NoDaemonError(
        f"your daemon could not start: {_last_lines(log, before)}",
        remedy=f"Its log is {log}; `hostler serve --personal` shows it live",
    )


def _answers(found: Found) -> bool:
    """Whether the daemon is ready; a daemon that listens but is still opening its database is
    not."""
    try:
        return running(found) is not None
    except NoDaemonError:
        return False


def stop(found: Found) -> bool:
    """Stop a daemon and wait for its process to end; False if none ran.

    Raises HostlerError if it does not end in time.
    """
    about = running(found)
    if about is None:
        return False
    pid = about.get("pid")
    with contextlib.suppress(NoDaemonError):  # it may end before its answer is out: seen below
        ask(found, "POST", "/v1/shutdown", {})
    deadline = time.monotonic() + STOP_DEADLINE
    while time.monotonic() < deadline:
        if isinstance(pid, int) and not _is_alive(pid):
            return True
        if not isinstance(pid, int) and running(found) is None:
            return True
        time.sleep(_POLL)
    raise HostlerError(
        f"the daemon (pid {pid}) has not ended within {STOP_DEADLINE:g} s",
        remedy=f"See `daemon.log` beside {found.path}",
    )


def _say(say: Say | None, text: str) -> None:
    if say is not None:
        say(text)


def _private_folder(folder: str) -> None:
    try:
        make_private(folder)
    except OSError as error:
        raise _unusable(error)(
            f"the state folder {folder} cannot be used ({error.strerror})",
            remedy="Set HOSTLER_STATE to a folder of your own on a local disk",
        ) from error


def _unusable(error: OSError) -> type[HostlerError]:
    """The error for a folder that cannot be made: a wrong path, unless the disk failed."""
    wrong = isinstance(error, (FileNotFoundError, FileExistsError, NotADirectoryError))
    named = os.environ.get("HOSTLER_STATE")
    return ConfigError if named and (wrong or isinstance(error, PermissionError)) else StateError


@contextlib.contextmanager
def _starting_lock(path: str, deadline: float) -> Iterator[None]:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(
            f"your daemon cannot be started: {path}: {error.strerror}",
            remedy="Make that folder writable (is its disk full, or mounted read-only?)",
        ) from error
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise NoDaemonError(
                        "another hostler process is still starting the daemon",
                        remedy=f"End that process; it holds the lock {path}",
                    ) from None
                time.sleep(_POLL)
        yield
    finally:
        os.close(handle)


def _spawn(log: str) -> int:
    """Start the daemon detached from this terminal; its pid."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        COMMAND[0],
        COMMAND,
        safe_environ(),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):  # not our child: the usual case
        os.waitpid(pid, os.WNOHANG)  # our own child would stay as a zombie
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """The process has ended, but its new parent has not noticed yet; in containers that takes
    long."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            stat = file.read()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] == ["Z"]


def _size(log: str) -> int:
    try:
        return os.stat(log).st_size
    except OSError:
        return 0


def _last_lines(log: str, begin: int) -> str:
    """The last lines of the log from a position on."""
    try:
        with open(log, "rb") as file:
            file.seek(begin)
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        return f"its log cannot be read ({error.strerror})"
    lines = [line.strip().removeprefix("hostler: ") for line in text.splitlines()[-_LOG_TAIL:]]
    return "; ".join(line for line in lines if line) or "it wrote nothing"
