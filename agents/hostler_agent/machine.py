"""Facts of the machine (boot id, load, memory, disks, kernel, drivers, how Docker gives GPUs): how
often they are read, and which change is worth sending."""

from __future__ import annotations

import os
import sys
import time
from typing import Callable, Dict, List, Optional, Tuple

from hostler_agent.json_values import Message, items, table, tables
from hostler_agent.look_sections import DiskSpace, MachineRow

_EVERY = 5.0
_DISKS_EVERY = 30.0
_LOAD_STEP = 0.3
_MEMORY_STEP = 0.02
_GIB = 1024**3


def boot_id(root: str = "/proc") -> str:
    """The id of this boot of the machine. If the kernel has no boot id, it is made from the boot
    time."""
    try:
        with open(root + "/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        with open(root + "/stat") as file:
            return "btime-" + next((n.split()[1] for n in file if n.startswith("btime ")), "0")


def memory(root: str = "/proc") -> Tuple[Optional[int], Optional[int]]:
    """Total and available memory, in bytes."""
    found: Dict[str, int] = {}
    try:
        with open(root + "/meminfo") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name in ("MemTotal", "MemAvailable"):
                    found[name] = int(rest.split()[0]) * 1024
                    if len(found) == 2:
                        break
    except (OSError, ValueError, IndexError):
        pass
    return found.get("MemTotal"), found.get("MemAvailable")


def disks(folders: Dict[str, str]) -> List[DiskSpace]:
    """The file systems of "/" and of each runtime's folder. A file system with several of them is
    listed once."""
    found: Dict[int, DiskSpace] = {}
    for runtime, path in [("", "/"), *folders.items()]:
        try:
            device, status = os.stat(path).st_dev, os.statvfs(path)
        except OSError:
            continue
        total, free = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
        disk = found.setdefault(device, DiskSpace(path, total, free, []))
        if runtime:
            disk.holds.append(runtime)
    return list(found.values())


class Machine:
    """The `machine` section of a look. It is renewed only if it has changed enough to be worth
    sending."""

    def __init__(self, folders: Callable[[], Dict[str, str]]) -> None:
        self._folders = folders
        """Returns runtime -> folder that its workloads write to. Local folders only: asking a dead
        network file system would block."""
        self._due = 0.0
        self._disks_due = 0.0
        self._disks: List[DiskSpace] = []
        self._section = MachineRow(None, None, None, [])

    def section(self) -> MachineRow:
        """Return the section: the same object while it is valid."""
        now = time.monotonic()
        if now < self._due:
            return self._section
        self._due = now + _EVERY
        try:
            load: Optional[float] = round(os.getloadavg()[0], 2)
        except OSError:
            load = None
        total, available = memory()
        if now >= self._disks_due:
            self._disks_due = now + _DISKS_EVERY
            self._disks = disks(self._folders())
        fresh = MachineRow(load, total, available, self._disks)
        if _differs(self._section, fresh):
            self._section = fresh
        return self._section


def _differs(old: MachineRow, new: MachineRow) -> bool:
    if old.memory_total != new.memory_total or len(old.disks) != len(new.disks):
        return True
    before, total = old.memory_available, new.memory_total or new.memory_available or 0
    return (
        _moved(old.load1, new.load1, max(_LOAD_STEP, 0.1 * (old.load1 or 0.0)))
        or _moved(before, new.memory_available, _MEMORY_STEP * total)
        or any(
            (a.path, a.total, a.holds) != (b.path, b.total, b.holds)
            or abs(a.free - b.free) >= max(_GIB, 0.01 * b.total)
            for a, b in zip(old.disks, new.disks)
        )
    )


def _moved(old: Optional[float], new: Optional[float], step: float) -> bool:
    """Whether a value appeared, disappeared, or changed by at least `step`."""
    if old is None or new is None:
        return old is not new
    return abs(new - old) >= step


def facts() -> Message:
    """The `HostFacts` that the kernel and this login know; GPU and Docker facts are added."""
    import pwd

    uname = os.uname()
    uid = os.getuid()
    result: Message = {
        "hostname": uname.nodename,
        "kernel": uname.release,
        "machine": uname.machine,
        "os": _os_name(),
        "python": "%d.%d.%d" % sys.version_info[:3],
        "cpus": len(os.sched_getaffinity(0)),
        "memory_total": memory()[0],
        "uid": uid,
        "gid": os.getgid(),
        "groups": [*sorted({*os.getgroups(), os.getgid()})],
        "home": os.environ.get("HOME"),
        "user": os.environ.get("USER") or os.environ.get("LOGNAME"),
    }
    if not result["home"] or not result["user"]:
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return result
        result["home"], result["user"] = entry.pw_dir, entry.pw_name
    return result


def _os_name() -> Optional[str]:
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("PRETTY_NAME="):
                    return line.partition("=")[2].strip().strip('"')
    except OSError:
        pass
    return None


def docker_gpu(info: Message, paths: Tuple[str, ...] = ()) -> Optional[str]:
    """How containers get GPUs here: "nvidia", "cdi" or None, from Docker's /info.

    Docker registers NVIDIA's driver if it finds the hook on its own PATH. /info does not contain
    that PATH, so the usual places are checked instead.
    """
    if "nvidia" in table(info.get("Runtimes")):
        return "nvidia"
    for folder in paths or ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/bin"):
        if os.access(os.path.join(folder, "nvidia-container-runtime-hook"), os.X_OK):
            return "nvidia"
    for device in tables(info.get("DiscoveredDevices")):
        if str(device.get("ID", "")).startswith("nvidia.com/gpu="):
            return "cdi"
    for directory in items(info.get("CDISpecDirs")):
        if _names_nvidia(str(directory)):
            return "cdi"
    return None


def _names_nvidia(folder: str) -> bool:
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    for name in names:
        try:
            with open(os.path.join(folder, name), "rb") as file:
                if b"nvidia.com/gpu" in file.read(65536):
                    return True
        except OSError:
            continue
    return False


def gpus_without_driver() -> bool:
    """Whether the machine has an NVIDIA display device, whatever NVML reports."""
    if os.path.exists("/dev/nvidia0"):
        return True
    folder = "/sys/bus/pci/devices"
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    for name in names:
        try:
            with open(os.path.join(folder, name, "vendor")) as file:
                if file.read().strip() != "0x10de":
                    continue
            with open(os.path.join(folder, name, "class")) as file:
                if file.read().startswith("0x03"):
                    return True
        except OSError:
            continue
    return False
