"""Leases: which user holds which GPU, as files shared by all users; when a lease counts as stale (2
hours untouched), and limits of size and number.

`<GPU uuid>.<uid>.json` is one lease. The folder is sticky, so that users cannot remove each other's
files. If an owner abandons a lease, others do not remove it. They recognise it as stale by its
content and by its owner's last touch. The time of a touch is from a clock that cannot be set,
because the wall clock may jump during a long pull. The file's owner and its name must agree, so
that users can forge leases only of their own. All content read here may be hostile.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import os
import re
import stat
import time
from typing import Callable, Collection, Iterator, List, NamedTuple, Optional, Tuple

from hostler_agent import leasefolder
from hostler_agent.folders import Refusal, is_identifier
from hostler_agent.json_values import Json, number, string, table
from hostler_agent.look_sections import Lease

UNTOUCHED = 2 * 3600.0
"""Seconds without a touch after which a lease whose work is gone counts as abandoned."""
TOUCH_EVERY = 1800.0
MAX_SIZE = 4096
MOST_FILES = 8192
"""Limit of lease files of the requested GPUs, of all users; with more, the holders are unknown."""
MOST_NAMES = 20_000
"""Limit of entries of any kind in the folder: reading so many takes less than a second."""
_SAMPLE = 1000
"""If there are too many files, this many are examined to find who owns most of them."""
MAX_OWNER = 64
"""Longest name of an owner, in characters."""
# One name per GPU and user: "007" would be a second name for 7.
_NAME = re.compile(r"([A-Za-z0-9-]{1,80})\.(0|[1-9][0-9]{0,9})\.json")
_ID = re.compile(r"([A-Za-z0-9-]{1,80})\.(0|[1-9][0-9]{0,9})\.([0-9a-f]{12})")
_PROCESS = re.compile(r"([0-9]{1,10}):([0-9]{1,20})")
_CONTAINER = re.compile(r"[0-9a-f]{64}")


class Clocks(NamedTuple):
    """A moment, in seconds of two clocks."""

    wall: float
    boot: Optional[float]
    """Seconds since boot, including sleep; None if the kernel has no such clock."""


def clocks() -> Clocks:
    """The present moment."""
    try:
        return Clocks(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
    except (AttributeError, OSError):
        return Clocks(time.time(), None)


class Live(NamedTuple):
    """Functions that check whether a lease's work still runs."""

    boot_id: str
    process: Callable[[int, int], Optional[bool]]
    """Called with (pid, start ticks). Whether that same process runs; None: unknown."""
    container: Callable[[str], Optional[bool]]
    """Called with (container id). Whether it runs; None: unknown."""


class Found(NamedTuple):
    """A valid lease file."""

    lease: Lease
    stale: bool
    """Whether the lease no longer holds the GPU."""
    uid: int
    """The uid of the file's owner: only this shows whose lease it is."""
    name: str


class Leases:
    """The lease folder. Methods raise Refusal when it cannot be used."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def list(self, live: Live, gpus: Optional[Collection[str]] = None) -> List[Found]:
        """The valid leases of all users, without broken or forged files. If GPUs are given, only
        theirs, so that no user can fill the list with GPUs that do not exist; this user's own
        leases are always included. Raises Refusal if the folder is unsafe or holds too much to
        read."""
        now, me = clocks(), os.getuid()
        found = []
        with contextlib.suppress(FileNotFoundError), self._opened() as folder:
            wanted = []
            for entry in _entries(folder, self.folder):
                match = _NAME.fullmatch(entry.name)
                if match is None or not (gpus is None or match[1] in gpus or int(match[2]) == me):
                    continue
                if leasefolder.owner(folder, entry.name) == int(
                    match[2]
                ):  # or one user could fill the whole list
                    wanted.append((match[1], int(match[2])))
                    if len(wanted) > MOST_FILES:
                        raise _crowded(folder, self.folder, "%d leases" % MOST_FILES)
            for gpu, uid in sorted(wanted):
                one = self._read(folder, gpu, uid, live, now)
                if one is not None:
                    found.append(one)
        return found

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        folder = leasefolder.open_folder(self.folder)
        try:
            yield folder
        finally:
            os.close(folder)

    def stamp(self) -> Optional[int]:
        """A value that changes when leases appear or disappear; None if there is no folder."""
        try:
            return os.stat(self.folder).st_mtime_ns
        except OSError:
            return None

    def problem(self) -> Optional[str]:
        """Why no GPU can be leased at the moment; None if there is no known problem."""
        try:
            with contextlib.suppress(FileNotFoundError), self._opened() as folder:
                leasefolder.check_lock(folder, self.folder)
        except (Refusal, OSError) as error:
            return str(error)
        return None

    def _read(self, folder: int, gpu: str, uid: int, live: Live, now: Clocks) -> Optional[Found]:
        name = "%s.%d.json" % (gpu, uid)
        try:
            descriptor = leasefolder.open_plain(folder, name)
        except (OSError, leasefolder.Unusable):
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
        parsed = parse(data, gpu, uid)
        if parsed is None:
            return None
        lease, touched = parsed
        # The file's owner can set the modification time, but not the change time.
        age = untouched(touched, status.st_ctime, now)
        return Found(lease, is_stale(lease, age, live, now.wall), uid, name)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the one lock of all users, for a check and a write. Raises Refusal when busy."""
        with leasefolder.locked(self.folder):
            yield

    def write(self, lease: Lease) -> None:
        """Write one of this user's leases as one step, as touched now. Only with the lock held."""
        uid = os.getuid()
        name = "%s.%d.json" % (lease["gpu"], uid)
        # Other users could take a name that they can guess.
        partial = "%s%s.new" % (_partials(uid), os.urandom(8).hex())
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._opened() as folder:
            descriptor = os.open(partial, flags, 0o644, dir_fd=folder)
            try:
                os.fchmod(descriptor, 0o644)
                rest = json.dumps({**lease, "touched": clocks().boot}).encode("ascii")
                while rest:  # a partial lease is invalid, and the GPU would look free
                    rest = rest[os.write(descriptor, rest) :]
                with leasefolder.explained(folder, name, os.path.join(self.folder, name)):
                    os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(partial, dir_fd=folder)
                raise
            finally:
                os.close(descriptor)

    def own(self, lease_id: str) -> Optional[Lease]:
        """This user's lease with that id, or None."""
        match = _ID.fullmatch(lease_id)
        if match is None or int(match[2]) != os.getuid():
            return None
        with contextlib.suppress(FileNotFoundError), self._opened() as folder:
            found = self._read(folder, match[1], int(match[2]), NOTHING, clocks())
            return found.lease if found and found.lease["lease_id"] == lease_id else None
        return None

    def remove(self, lease_id: str) -> None:
        """Remove a lease of this user. No error if it no longer exists."""
        lease = self.own(lease_id)
        if lease is not None:
            with contextlib.suppress(FileNotFoundError), self._opened() as folder:
                os.unlink("%s.%d.json" % (lease["gpu"], os.getuid()), dir_fd=folder)

    def touch(self, daemon_id: str) -> None:
        """Record that this daemon still needs its leases. May wait for the lock."""
        if not self.of(daemon_id):
            return  # the folder may not exist
        with self.locked():
            for found in self.of(daemon_id):
                try:
                    self.write(found.lease)
                except OSError:  # a full disk still accepts a new time
                    with self._opened() as folder:
                        os.utime(found.name, dir_fd=folder, follow_symlinks=False)
            self._sweep()

    def _sweep(self) -> None:
        """Remove partial files of killed agents. Only with the lock held."""
        mine = _partials(os.getuid())
        with self._opened() as folder:
            for entry in _entries(folder, self.folder):
                if entry.name.startswith(mine) and entry.name.endswith(".new"):
                    with contextlib.suppress(OSError):
                        os.unlink(entry.name, dir_fd=folder)

    def of(self, daemon_id: str) -> List[Found]:
        """This user's leases for a daemon. None of them is marked stale."""
        mine = self.list(NOTHING, ())
        return [found for found in mine if found.lease["daemon_id"] == daemon_id]


def _partials(uid: int) -> str:
    return ".%d." % uid


def _entries(folder: int, path: str) -> Iterator["os.DirEntry[str]"]:
    """The entries of the folder. Raises Refusal when there are too many to read."""
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number >= MOST_NAMES:
                raise _crowded(folder, path, "%d files" % MOST_NAMES)
            yield entry


def _crowded(folder: int, path: str, what: str) -> leasefolder.Unusable:
    """The error for too many files: it names the user who owns most of a sample of them."""
    # A separate descriptor: copies of one descriptor share their position in the folder.
    again = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        with os.scandir(again) as entries:
            some = [entry.name for entry in itertools.islice(entries, _SAMPLE)]
    finally:
        os.close(again)
    owners = [leasefolder.owner(folder, name) for name in some]
    counted = collections.Counter(uid for uid in owners if uid is not None)
    most = counted.most_common(1)[0][0] if counted else 0
    who = leasefolder.owner_of(most)
    other = "" if who == "root" else "%s or " % who
    text = "%s holds more than %s, most of them are %s's: %sroot can remove them"
    return leasefolder.Unusable(text % (path, what, who, other))


NOTHING = Live("", lambda pid, ticks: True, lambda ref: None)
"""For callers that ignore whether leases are stale."""


def parse(data: bytes, gpu: str, uid: int) -> Optional[Tuple[Lease, Optional[float]]]:
    """The lease in a file of that name, and the time of its last touch as written there; None if
    the content is invalid."""
    if len(data) > MAX_SIZE:
        return None
    try:
        raw = table(json.loads(data.decode("utf-8")))
    except (ValueError, RecursionError):
        return None
    lease_id, daemon, owner = (string(raw.get(key)) for key in ("lease_id", "daemon_id", "owner"))
    match = _ID.fullmatch(lease_id or "")
    if match is None or match[1] != gpu or int(match[2]) != uid or raw.get("gpu") != gpu:
        return None
    attempt, claimed = raw.get("attempt_id"), _moment(raw.get("claimed_at"))
    if not (attempt is None or is_identifier(attempt)) or claimed is None:
        return None
    if not is_identifier(daemon) or not owner:
        return None
    lease: Lease = {
        "lease_id": match[0], "gpu": gpu, "daemon_id": daemon or "", "owner": plain_owner(owner),
        "attempt_id": string(attempt), "boot_id": _identifier(raw.get("boot_id")),
        "workload": _identifier(raw.get("workload")), "claimed_at": claimed,
        "until": _moment(raw.get("until")),
    }  # fmt: skip
    return lease, _moment(raw.get("touched"))


def _identifier(value: Json) -> Optional[str]:
    return string(value) if is_identifier(value) else None


def _moment(value: Json) -> Optional[float]:
    found = number(value)
    return found if found is not None and 0 <= found < 1e11 else None


def plain_owner(text: str) -> str:
    """The owner's name as leases hold it: shortened, with printable ASCII characters only. Any user
    may write one."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:MAX_OWNER])


def untouched(touched: Optional[float], changed: float, now: Clocks) -> float:
    """Seconds since a lease was touched: `touched` is the boot clock's time in the lease, `changed`
    the wall clock's time of its file.

    The shorter of the two counts: a wall clock that was set forward makes no lease old, and if only
    the file's times show a touch (older agents, full disks) these count. A lease of another boot,
    whose clock began anew, is not judged by its age.
    """
    age = now.wall - min(changed, now.wall)
    if touched is None or now.boot is None or touched > now.boot:
        return age
    return min(age, now.boot - touched)


def is_stale(lease: Lease, age: float, live: Live, now: float) -> bool:
    """Whether a lease that was touched `age` seconds ago no longer holds its GPU.

    A lease whose work runs is always valid. Otherwise it ends with another boot, at its time limit,
    or when its work has ended (or never started) and its owner has not touched it for long.
    """
    running = works(lease["workload"], live)
    if running:
        return False
    if lease["boot_id"] != live.boot_id:
        return True
    if lease["until"] is not None and lease["until"] < now:
        return running is False or lease["workload"] is None
    if lease["attempt_id"] is None and lease["until"] is not None:
        return False  # a reservation with an end lasts until then, even untouched
    return running is not None and age > UNTOUCHED


def works(workload: Optional[str], live: Live) -> Optional[bool]:
    """Whether the workload of a lease runs; None: unknown. False if the lease is not bound yet, or
    is bound only to the name of an attempt that has not started."""
    if workload is None:
        return False
    match = _PROCESS.fullmatch(workload)
    if match:
        return live.process(int(match[1]), int(match[2]))
    return live.container(workload) if _CONTAINER.fullmatch(workload) else False
