"""Who owns a process on a GPU: user, command, container, attempt, read from /proc; the names that
an ignore list can match, and how commands are cut.

Without root, parts of /proc of other users cannot be read: those fields are None.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from hostler_agent.look_sections import GpuProcess

Process = Tuple[int, Optional[int], str]
"""A process on a GPU: PID, memory in bytes, "compute" or "graphics"."""
MAX_COMMAND = 512
"""Longest command line that is kept, in characters."""
RECHECK_EVERY = 10.0
_MAX_ANCESTORS = 64
_MOST_ASKED = 1000
_MOST_FILES = 1024
_MOST_AT_ONCE = 4
# A path component that ends in a container id, with the prefix and suffix of Docker, containerd,
# CRI-O or Podman. conmon runs outside its container, so it does not count. Of nested containers the
# outermost counts, because the host's engine knows that one.
_CGROUP = re.compile(
    r"[/:](?!libpod-conmon|crio-conmon)(?:[a-z-]+-)?([0-9a-f]{64})(?:\.scope)?(?=/|$)", re.MULTILINE
)
CLOCK_TICK = os.sysconf("SC_CLK_TCK")
"""Ticks of the kernel in a second, for the times of processes."""


class Proc:
    """Reads a /proc; the root can be another folder in tests."""

    def __init__(self, root: str = "/proc") -> None:
        self.root = root
        self._boot: Optional[float] = None

    def text(self, pid: int, name: str, limit: int = 65536) -> Optional[str]:
        """The text of a file of a process; None if it cannot be read."""
        try:
            with open("%s/%d/%s" % (self.root, pid, name), "rb") as file:
                return file.read(limit).decode("utf-8", "replace")
        except (OSError, ValueError):
            return None

    def start_ticks(self, pid: int) -> Optional[int]:
        """When the process started, in ticks since boot: this and the PID identify it."""
        return self.origin(pid)[2]

    def state(self, pid: int) -> Tuple[Optional[str], Optional[int]]:
        """State letter ("Z" is dead) and parent."""
        return self.origin(pid)[:2]

    def origin(self, pid: int) -> Tuple[Optional[str], Optional[int], Optional[int]]:
        """State letter, parent and start in ticks, read at the same time; None: unknown."""
        stat = self.text(pid, "stat")
        fields = stat.rpartition(")")[2].split() if stat else []
        if len(fields) < 2:
            return None, None, None
        ticks = int(fields[19]) if len(fields) > 19 and fields[19].isdigit() else None
        return fields[0], int(fields[1]), ticks

    def same(self, pid: int, ticks: int) -> Optional[bool]:
        """Whether the process that started at `ticks` still runs (a zombie does not count). None:
        unknown, because /proc hides processes of other users here (hidepid)."""
        seen = self.start_ticks(pid)
        if seen is None:
            return None if is_alive(pid) else False
        return seen == ticks and self.state(pid)[0] not in ("Z", "X", None)

    def started_at(self, ticks: Optional[int]) -> Optional[float]:
        """Convert ticks since boot to host time, in seconds since 1970."""
        if ticks is None:
            return None
        if self._boot is None:
            self._boot = _boot_time(self.root)
        return None if self._boot is None else round(self._boot + ticks / CLOCK_TICK, 2)

    def started_up(self, ticks: Optional[int]) -> Optional[float]:
        """Convert ticks since boot to seconds since boot."""
        return None if ticks is None else round(ticks / CLOCK_TICK, 2)

    def uid(self, pid: int) -> Optional[int]:
        """The uid of a process's effective user; None: unknown."""
        try:
            return os.stat("%s/%d" % (self.root, pid)).st_uid
        except OSError:
            return None

    def command(self, pid: int) -> Optional[str]:
        """The command line, shortened; the short name in brackets if there is no command line."""
        raw = self.text(pid, "cmdline", MAX_COMMAND * 4)
        if raw:
            return raw.rstrip("\0").replace("\0", " ")[:MAX_COMMAND]
        name = self.text(pid, "comm")
        return "[%s]" % name.strip() if name else None

    def program(self, pid: int) -> Tuple[str, ...]:
        """The names that an ignore list is compared with: comm and the file name of argv[0]."""
        comm = (self.text(pid, "comm") or "").strip()
        first = (self.text(pid, "cmdline", 4096) or "").split("\0")[0]
        names = (comm, os.path.basename(first.split(" ")[0]))
        return tuple(dict.fromkeys(name for name in names if name))

    def container(self, pid: int) -> Optional[str]:
        """The full id of the container that a process runs in; None: none, or unknown."""
        text = self.text(pid, "cgroup")
        return container_of(text) if text else None

    def environ(self, pid: int, name: str) -> Optional[str]:
        """The value of a variable of a process of this user; None if it is missing or unknown."""
        text = self.text(pid, "environ", 1024 * 1024)
        if text:
            for item in text.split("\0"):
                if item.startswith(name + "="):
                    return item[len(name) + 1 :]
        return None

    def open_files(self, pid: int) -> List[str]:
        """Paths of the files that a process of this user has open."""
        folder, found = "%s/%d/fd" % (self.root, pid), []
        try:
            names = os.listdir(folder)[:_MOST_FILES]
        except OSError:
            return []
        for name in names:
            with contextlib.suppress(OSError):  # closed meanwhile
                found.append(os.readlink("%s/%s" % (folder, name)))
        return found

    def pids(self) -> List[int]:
        """All PIDs that this login can see."""
        try:
            return [int(name) for name in os.listdir(self.root) if name.isdigit()]
        except OSError:
            return []


def container_of(cgroup: str) -> Optional[str]:
    """The container id in the text of /proc/PID/cgroup, whichever engine wrote it."""
    match = _CGROUP.search(cgroup)
    return match[1] if match else None


def _boot_time(root: str) -> Optional[float]:
    try:
        with open(root + "/stat") as file:
            for line in file:
                if line.startswith("btime "):
                    return float(line.split()[1])
    except OSError:
        pass
    return None


class Users:
    """Names of Unix users, without waiting for a slow directory service."""

    def __init__(self, file_name: str = "/etc/passwd") -> None:
        self._names: Dict[int, str] = {}
        self._asked: Dict[int, threading.Thread] = {}
        try:
            with open(file_name, encoding="utf-8", errors="replace") as file:
                for line in file:
                    fields = line.split(":")
                    if len(fields) > 2 and fields[2].isdigit():
                        self._names.setdefault(int(fields[2]), fields[0])
        except OSError:
            pass

    def name(self, uid: int) -> str:
        """The user's name; its number while the name is not known."""
        if uid not in self._names and uid not in self._asked and len(self._asked) < _MOST_ASKED:
            under_way = sum(thread.is_alive() for thread in self._asked.values())
            if under_way < _MOST_AT_ONCE:
                thread = threading.Thread(target=self._ask, args=(uid,), daemon=True)
                self._asked[uid] = thread
                thread.start()
                # One user may have thousands of uids, so a hanging name service is waited for only
                # once.
                thread.join(0.0 if under_way else 0.2)
        return self._names.get(uid) or "uid %d" % uid

    def _ask(self, uid: int) -> None:
        import pwd

        try:
            self._names[uid] = pwd.getpwuid(uid).pw_name
        except KeyError:
            return  # the number is shown


class _Known(NamedTuple):
    ticks: Optional[int]
    info: GpuProcess
    checked: float


class Processes:
    """The processes that NVML lists by PID. Each is looked up once, and checked again later."""

    def __init__(self, proc: Optional[Proc] = None, users: Optional[Users] = None) -> None:
        self.proc = proc or Proc()
        self.users = users or Users()
        self._known: Dict[int, _Known] = {}
        self._shims: Dict[int, str] = {}
        self._last: List[Tuple[str, Sequence[Process], List[bool]]] = []
        self._section: Dict[str, List[GpuProcess]] = {}
        self._due = 0.0

    def set_jobs(self, pids: Dict[int, str]) -> None:
        """Set PID -> attempt id of the job processes that this login supervises."""
        if pids != self._shims:
            self._shims, self._due = dict(pids), 0.0
            self._known.clear()

    def section(
        self, listed: Sequence[Tuple[str, Sequence[Process]]]
    ) -> Dict[str, List[GpuProcess]]:
        """The `procs` section for (UUID, processes) pairs; the same object when nothing changed."""
        now = time.monotonic()
        alive = [(uuid, found, [is_alive(p[0]) for p in found]) for uuid, found in listed if found]
        if alive == self._last and now < self._due:
            return self._section
        self._last, self._due = alive, now + RECHECK_EVERY
        fresh = {
            uuid: [self.describe(process, exists, now) for process, exists in zip(found, living)]
            for uuid, found, living in alive
        }
        pids = {p[0] for _, found, _ in alive for p in found}
        self._known = {pid: known for pid, known in self._known.items() if pid in pids}
        if fresh != self._section:
            self._section = fresh
        return self._section

    def once(self, process: Process) -> GpuProcess:
        """Look a process up again. Any thread may call it."""
        pid, memory, kind = process
        if not is_alive(pid):
            return GpuProcess(pid, kind, memory, exists=False)
        return self._look_up(process, self.proc.start_ticks(pid))

    def describe(self, process: Process, exists: bool, now: float) -> GpuProcess:
        """Describe a process by the known data of its PID."""
        pid, memory, kind = process
        if not exists:
            return GpuProcess(pid, kind, memory, exists=False)
        known = self._known.get(pid)
        if known is None or now - known.checked >= RECHECK_EVERY:
            ticks = self.proc.start_ticks(pid)
            if known is None or known.ticks != ticks:
                info = self._look_up(process, ticks)
            else:  # a slow name service may have answered by now
                user = known.info.user and (self._user(pid) or known.info.user)
                info = known.info._replace(user=user)
            known = self._known[pid] = _Known(ticks, info, now)
        return known.info._replace(kind=kind, memory=memory)

    def _look_up(self, process: Process, ticks: Optional[int]) -> GpuProcess:
        (pid, memory, kind), proc = process, self.proc
        return GpuProcess(
            pid, kind, memory, self._user(pid), proc.command(pid), proc.container(pid),
            self.attempt(pid), proc.started_at(ticks),
        )  # fmt: skip

    def _user(self, pid: int) -> Optional[str]:
        uid = self.proc.uid(pid)
        return None if uid is None else self.users.name(uid)

    def attempt(self, pid: int) -> Optional[str]:
        """The attempt that a process belongs to: by its ancestors, else by its environment; None:
        none known."""
        above = self.job_above(pid)
        if above is not None:
            return above
        # Any user may set the variable. It counts only for jobs of this login, and in its own
        # processes, because root can read those of others.
        mine = self.proc.uid(pid) == os.getuid()
        named = self.proc.environ(pid, "HOSTLER_ATTEMPT") if mine else None
        return named if named in self._shims.values() else None

    def job_above(self, pid: int) -> Optional[str]:
        """The attempt whose shim or first process is this process or one of its ancestors; None:
        none."""
        at: Optional[int] = pid
        for _ in range(_MAX_ANCESTORS):
            if at is None or at <= 1:
                break
            if at in self._shims:
                return self._shims[at]
            at = self.proc.state(at)[1]
        return None


def is_alive(pid: int) -> bool:
    """Whether a process with that number exists. An ended process counts until its parent has
    reaped it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
