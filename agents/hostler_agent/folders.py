"""Where Hostler's files lie on a host (/var/tmp/hostler-UID, the folder of leases), which attempt
ids and paths are accepted, and removal of folders."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from _thread import get_native_id  # threading would make every shim larger
from typing import Optional

from hostler_agent.json_values import Outgoing

_ATTEMPT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+,@-]{0,199}")
_IDENTIFIER = re.compile(r"[!-~]{1,255}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LEASES = "/var/tmp/hostler/leases"


class Refusal(Exception):
    """A request that cannot be done; `kind` is the name of the daemon's error class."""

    def __init__(self, message: str, kind: str = "AgentError") -> None:
        super().__init__(message)
        self.kind = kind
        self.more: Outgoing = {}
        """More members of the error in the answer."""

    def to_wire(self) -> Outgoing:
        """Return the error for an answer."""
        return {**self.more, "kind": self.kind, "message": str(self)}


def is_identifier(value: object) -> bool:
    """Whether a text is valid as an id for the daemon. Labels of other users' containers may be
    invalid, and such a label must not make a look invalid."""
    return isinstance(value, str) and _IDENTIFIER.fullmatch(value) is not None


def check_attempt(value: object) -> str:
    """Return an attempt id that is valid as a file name. Raises Refusal for any other."""
    if isinstance(value, str) and _ATTEMPT.fullmatch(value):
        return value
    raise Refusal("%r is not an attempt id" % (value,), "InputError")


def check_digest(value: object) -> str:
    """Return a SHA-256 in hex. Raises Refusal for anything else."""
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return value
    raise Refusal("%r is not a SHA-256 digest" % (value,), "InputError")


def check_relative(value: object) -> str:
    """Return a relative path without ".."; "" is the folder itself. Raises Refusal for any
    other."""
    if not isinstance(value, str) or "\0" in value:
        raise Refusal("%r is not a path" % (value,), "InputError")
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if value.startswith("/") or ".." in parts:
        raise Refusal("%r leads out of its folder" % value, "InputError")
    return "/".join(parts)


class Folders:
    """The folders of this login. The bootstrap has checked that `base` exists, has mode 0700 and
    belongs to this user."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.jobs = os.path.join(base, "jobs")
        self.blobs = os.path.join(base, "blobs")
        self.checkpoints = os.path.join(base, "checkpoints")
        self.venvs = os.path.join(base, "venvs")
        self.notify = os.path.join(base, "notify")
        # The variable is for tests. All users of the host share the folder.
        self.leases = os.environ.get("HOSTLER_LEASES") or _LEASES
        self._lock: Optional[int] = None
        self._code: Optional[int] = None

    def make(self) -> None:
        """Make the missing folders."""
        for path in (self.jobs, self.blobs, self.checkpoints, self.venvs, self.notify):
            os.makedirs(path, 0o700, exist_ok=True)

    def hold(self) -> None:
        """Keep systemd-tmpfiles from removing the folder for its age while this process lives.

        It skips folders with a BSD lock.
        """
        self._lock = hold(self.base)

    def hold_code(self, version: str) -> None:
        """Keep the `gc` of other agents from removing this agent's files: modules are loaded when
        needed, also in the shims forked from this process."""
        folder = os.path.join(self.base, "agent", version)
        if os.path.isdir(folder):
            self._code = hold(folder)

    def job(self, attempt: str) -> str:
        """The folder of an attempt. Raises Refusal for an id that is not a file name."""
        return os.path.join(self.jobs, check_attempt(attempt))

    def blob(self, digest: str) -> str:
        """The file of a cached blob. Raises Refusal for an invalid digest."""
        return os.path.join(self.blobs, check_digest(digest))

    def adopt(self, version: str) -> bool:
        """Renew the times of the agent's own files, once a day; False if a file is gone.

        Programs that clean /var/tmp remove single files by their age. If a file is missing, the
        agent renames the whole folder, so that the next start uploads it anew.
        """
        folder = os.path.join(self.base, "agent", version)
        package = os.path.join(folder, "hostler_agent")
        if not os.path.isdir(folder):
            return True  # a test runs it from a source tree
        stamp = os.path.join(folder, "stamp")
        try:
            if time.time() - os.stat(stamp).st_mtime < 86400:
                return True
            with open(stamp) as file:
                names = file.read().split()
        except FileNotFoundError:
            names = sorted(n for n in os.listdir(package) if n.endswith(".py"))
        try:
            os.utime(os.path.join(folder, "pynvml.py"))
            for name in names:
                os.utime(os.path.join(package, name))
        except FileNotFoundError:
            os.rename(folder, "%s.gone.%d" % (folder, os.getpid()))
            return False
        write_file(stamp, "\n".join(names).encode())
        return True


def hold(folder: str) -> int:
    """Hold a shared lock on `folder`. Returns a descriptor; closing it ends the lock."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        # A cleaner holds the lock for a moment. The next agent gets it.
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.ENOLCK):
            os.close(descriptor)
            raise
    return descriptor


def remove_deep(path: str) -> None:
    """Remove a deeply nested folder, which Python removes only to some depth. Raises OSError if
    anything is left."""
    if os.path.lexists(path):
        import subprocess

        subprocess.call(["rm", "-rf", "--", path], stderr=subprocess.DEVNULL)
    if os.path.lexists(path):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)


def remove_tree(path: str) -> None:
    """Remove a folder, also where a job has taken away write permissions. Raises OSError."""
    if not os.path.lexists(path):
        return
    import shutil

    try:
        shutil.rmtree(path)
        return
    except PermissionError:
        for folder, _, _ in os.walk(path):
            with contextlib.suppress(OSError):
                os.chmod(folder, 0o700)
    except RecursionError:
        remove_deep(path)
        return
    shutil.rmtree(path)


def write_file(path: str, data: bytes, mode: int = 0o600, sync: bool = False) -> None:
    """Replace a file as one step, also against other threads that do so."""
    partial = "%s.%d.new" % (path, get_native_id())
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        try:
            left = memoryview(data)
            while left:  # an almost full disk accepts only a part
                left = left[os.write(descriptor, left) :]
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(partial, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise
