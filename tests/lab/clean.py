"""Taking a lab away, whatever state it is in, and finding what is left of one.

What belongs to a lab is known by its name alone: cgroups, interfaces, loop devices over its disks,
its folder. Nothing here needs lab.json, so a crash at any point can be cleaned up.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from tests.lab import cgroups, net
from tests.lab.disk import disk_users
from tests.lab.layout import STATE, LabError, LabPaths
from tests.lab.system import run, wait_until


def destroy(name: str) -> None:
    """Kill, unmount and remove everything of a lab. A lab that is not there is no error."""
    folder = LabPaths(name).folder
    cgroups.kill(name)
    cgroups.remove(name)
    net.remove(name)
    with contextlib.suppress(LabError):  # then by force, below
        wait_until(lambda: not disk_users(folder), "freeing the loop devices", timeout=5)
    for device in disk_users(folder):
        run(["losetup", "--detach", device])
    if folder.exists():
        shutil.rmtree(folder)
    with contextlib.suppress(OSError):  # other labs are there
        STATE.rmdir()


def leftovers(name: str) -> list[str]:
    """Everything on this machine that bears the lab's mark: empty after `destroy`."""
    folder = LabPaths(name).folder
    found = [f"process {pid}" for pid in sorted(cgroups.pids(name))]
    groups = [item.group(name) for item in cgroups.hierarchies()]
    found += [f"cgroup {group}" for group in groups if group.exists()]
    found += [f"interface {item}" for item in net.interfaces(name)]
    found += [f"loop device {device}" for device in disk_users(folder)]
    found += [f"mount {line}" for line in _mounts() if str(folder) in line]
    if folder.exists():
        found.append(f"folder {folder}")
    return found


def _mounts() -> set[str]:
    """The mounts that any process of this machine sees."""
    seen: set[str] = set()
    for file in Path("/proc").glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):  # the process has ended
            seen.update(line.split(" ", 4)[4] for line in file.read_text().splitlines())
    return seen
