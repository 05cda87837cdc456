"""Leases: who holds which GPU of this machine, as files that all users of it share.

`<GPU uuid>.<uid>.json` is one lease. The folder is sticky, so that nobody can remove another's
file: a lease that is over, whose owner never came back, is therefore not removed by others but
recognised as stale by what it says and by when its owner last touched it. That is told by a clock
that nobody sets, since the wall clock may jump while somebody waits for a long pull. File owner and
name must agree, so that a user can only ever forge leases of their own. Everything read here is
hostile.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from hostler_agent.folders import Refusal, is_identifier

UNTOUCHED = 2 * 3600.0
"""Seconds without a touch after which a lease whose work is gone counts as abandoned."""
TOUCH_EVERY = 1800.0
MAX_SIZE = 4096
_LOCK = ".lock"
_LOCK_PATIENCE = 5.0
_MAKING_PATIENCE = 1.0
_NAME = re.compile(r"([A-Za-z0-9-]{1,80})\.(\d{1,10})\.json")
_ID = re.compile(r"([A-Za-z0-9-]{1,80})\.(\d{1,10})\.([0-9a-f]{12})")
_PROCESS = re.compile(r"(\d{1,10}):(\d{1,20})")
_CONTAINER = re.compile(r"[0-9a-f]{64}")


class Busy(Refusal):
    """Somebody else holds the lock for too long: to be asked again, nothing has changed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "Unreachable")


class Clocks(NamedTuple):
    """A moment, in seconds."""

    wall: float
    boot: Optional[float]
    """Since boot, sleep included; None where the kernel does not count that."""


def clocks() -> Clocks:
    """Now."""
    try:
        return Clocks(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
    except (AttributeError, OSError):
        return Clocks(time.time(), None)


class Live(NamedTuple):
    """What is needed to judge whether a lease's work still runs."""

    boot_id: str
    process: Callable[[int, int], bool]
    """(pid, start ticks): that very process runs."""
    container: Callable[[str], Optional[bool]]
    """(container id): it runs; None when nobody can tell."""


class Found(NamedTuple):
    """A lease file that holds a lease."""

    lease: Dict[str, Any]
    """The `Lease` as the model's fields, `stale` included."""
    uid: int
    path: str


class Leases:
    """The lease folder. Methods raise Refusal when it cannot be used."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def list(self, live: Live) -> List[Found]:
        """All leases of all users; nothing that is broken or forged."""
        now = clocks()
        try:
            names = os.listdir(self.folder)
        except OSError:
            return []  # nobody has claimed anything here yet
        found = []
        for name in sorted(names):
            match = _NAME.fullmatch(name)
            if match:
                one = self._read(match[1], int(match[2]), live, now)
                if one is not None:
                    found.append(one)
        return found

    def _read(self, gpu: str, uid: int, live: Live, now: Clocks) -> Optional[Found]:
        path = os.path.join(self.folder, "%s.%d.json" % (gpu, uid))
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != uid:
                return None
            data = os.read(descriptor, MAX_SIZE + 1)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        lease = parse(data, gpu, uid)
        if lease is None:
            return None
        # The change time, unlike the modification time, cannot be set by the file's owner.
        age = untouched(lease.pop("touched"), status.st_ctime, now)
        lease["stale"] = is_stale(lease, age, live, now.wall)
        return Found(lease, uid, path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the one lock of all users, for a check and a write. Raises Refusal when busy."""
        self._make()
        descriptor = self._lock()
        try:
            yield
        finally:
            os.close(descriptor)

    def _make(self) -> None:
        """Make the folder. Somebody else may be making it: between their mkdir and chmod it looks
        wrong for a moment."""
        until = time.monotonic() + _MAKING_PATIENCE
        while True:
            try:
                return self._make_once()
            except (Refusal, PermissionError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.005)

    def _make_once(self) -> None:
        parent = os.path.dirname(self.folder)
        for path in (parent, self.folder):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)
                os.chmod(path, 0o1777)  # noqa: S103 - all users of the host share it
        status = os.lstat(self.folder)
        if not stat.S_ISDIR(status.st_mode):
            raise Refusal("%s is not a folder: remove it" % self.folder)
        if status.st_mode & 0o7777 != 0o1777:
            if status.st_uid != os.getuid():
                raise Refusal("%s should have mode 1777: run chmod 1777 on it" % self.folder)
            os.chmod(self.folder, 0o1777)  # noqa: S103 - all users of the host share it

    def _lock(self) -> int:
        path = os.path.join(self.folder, _LOCK)
        until = time.monotonic() + _LOCK_PATIENCE
        while True:
            descriptor = _open_lock(path)
            try:
                while True:
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except OSError as error:
                        if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                            raise
                    if time.monotonic() > until:
                        raise Busy("the lease lock %s is held by somebody for too long" % path)
                    time.sleep(0.005)
                # A cleaner may have removed the file while this waited: then it locks nothing.
                if _same_file(descriptor, path):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def write(self, lease: Dict[str, Any]) -> None:
        """Write one of this user's leases as one step, as touched now. Only with the lock held."""
        uid = os.getuid()
        path = os.path.join(self.folder, "%s.%d.json" % (lease["gpu"], uid))
        partial = os.path.join(self.folder, ".%d.%d.new" % (uid, os.getpid()))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(partial, flags, 0o644)
        try:
            os.fchmod(descriptor, 0o644)
            rest = json.dumps({**lease, "touched": clocks().boot}).encode("ascii")
            while rest:  # half a lease is none, and the GPU would look free
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)
        os.rename(partial, path)

    def own(self, lease_id: str) -> Optional[Dict[str, Any]]:
        """This user's lease with that id, or None."""
        match = _ID.fullmatch(lease_id)
        if match is None or int(match[2]) != os.getuid():
            return None
        found = self._read(match[1], int(match[2]), NOTHING, clocks())
        return found.lease if found and found.lease["lease_id"] == lease_id else None

    def remove(self, lease_id: str) -> None:
        """Give a lease of this user back; without effect when it is not there any more."""
        lease = self.own(lease_id)
        if lease is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.folder, "%s.%d.json" % (lease["gpu"], os.getuid())))

    def touch(self, daemon_id: str) -> None:
        """Say that the leases of this daemon are still wanted. May wait for the lock."""
        if not self._of(daemon_id):
            return  # there may be no folder at all
        with self.locked():
            for found in self._of(daemon_id):
                try:
                    self.write(found.lease)
                except OSError:
                    os.utime(found.path)  # a full disk takes that much

    def _of(self, daemon_id: str) -> List[Found]:
        return [
            found
            for found in self.list(NOTHING)
            if found.uid == os.getuid() and found.lease["daemon_id"] == daemon_id
        ]


NOTHING = Live("", lambda pid, ticks: True, lambda ref: None)
"""For callers to whom it does not matter whether leases are stale."""


def _open_lock(path: str) -> int:
    # With fs.protected_regular the kernel refuses O_CREAT on another user's file in a sticky
    # folder, even where plain opening is allowed.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        try:
            descriptor = os.open(path, flags)
            break
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
                os.fchmod(descriptor, 0o644)
                break
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refusal("%s is not a plain file: remove it" % path)
    return descriptor


def _same_file(descriptor: int, path: str) -> bool:
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def parse(data: bytes, gpu: str, uid: int) -> Optional[Dict[str, Any]]:
    """The lease that a file of that name holds; None when it holds anything else."""
    if len(data) > MAX_SIZE:
        return None
    try:
        raw = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict):
        return None
    match = _ID.fullmatch(raw["lease_id"]) if isinstance(raw.get("lease_id"), str) else None
    if match is None or match[1] != gpu or int(match[2]) != uid or raw.get("gpu") != gpu:
        return None
    lease = {"lease_id": raw["lease_id"], "gpu": gpu}
    if not is_identifier(raw.get("daemon_id")) or not _short(raw.get("owner")):
        return None
    lease["daemon_id"], lease["owner"] = raw["daemon_id"], raw["owner"]
    attempt = raw.get("attempt_id")
    if attempt is not None and not is_identifier(attempt):
        return None
    lease["attempt_id"] = attempt
    for key in ("boot_id", "workload"):
        value = raw.get(key)
        lease[key] = value if _short(value) else None
    for key in ("claimed_at", "until", "touched"):
        lease[key] = _moment(raw.get(key))
    if lease["claimed_at"] is None:
        return None
    return lease


def _moment(value: Any) -> Optional[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e11:
        return None
    return float(value)


def _short(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 255 and value.isprintable()


def untouched(touched: Optional[float], changed: float, now: Clocks) -> float:
    """Seconds since a lease was touched: at `touched` as it says by the boot clock, and its file at
    `changed` by the wall clock.

    The shorter of what the two clocks say: a wall clock that was set forward makes no lease old,
    and where only the file's times tell of a touch (older agents, full disks) these count. A lease
    of another boot, whose clock began anew, is not judged by its age.
    """
    age = now.wall - min(changed, now.wall)
    if touched is None or now.boot is None or touched > now.boot:
        return age
    return min(age, now.boot - touched)


def is_stale(lease: Dict[str, Any], age: float, live: Live, now: float) -> bool:
    """Whether a lease that was touched `age` seconds ago holds nothing any more.

    A lease whose work runs is always good. Else it is over with another boot, when its time has
    come, or when its work is gone (or never came) and its owner has not touched it for long.
    """
    running = works(lease["workload"], live)
    if running:
        return False
    if lease["boot_id"] != live.boot_id:
        return True
    if lease["until"] is not None and lease["until"] < now:
        return running is False or lease["workload"] is None
    if lease["attempt_id"] is None and lease["until"] is not None:
        return False  # a reservation with an end lasts until then, whoever looks after it
    return running is not None and age > UNTOUCHED


def works(workload: Optional[str], live: Live) -> Optional[bool]:
    """Whether the work a lease is bound to runs; None: nobody can tell.

    False when it is bound to nothing, or to a job that has not started yet (its attempt's name).
    """
    if workload is None:
        return False
    match = _PROCESS.fullmatch(workload)
    if match:
        return live.process(int(match[1]), int(match[2]))
    return live.container(workload) if _CONTAINER.fullmatch(workload) else False
