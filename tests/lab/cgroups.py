"""The cgroups of lab hosts, on cgroup 1, cgroup 2, or both: made, listed, frozen, killed, removed.

Everything a lab starts lives in its cgroups, so they are also how the lab knows what is its own.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.layout import CGROUP
from tests.lab.system import wait_until

_NOT_CONTROLLERS = {"rw", "ro", "nosuid", "nodev", "noexec", "relatime", "xattr", "clone_children"}


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted cgroup hierarchy of this machine."""

    mount: Path
    kind: str
    """"cgroup" (version 1) or "cgroup2"."""
    options: str
    """What to mount it again with."""

    @property
    def place(self) -> str:
        """Its name under /sys/fs/cgroup; "" when it is all there is."""
        return "" if self.mount == Path("/sys/fs/cgroup") else self.mount.name

    def group(self, *parts: str) -> Path:
        """The folder of a lab (or of one of its hosts) in this hierarchy."""
        return self.mount.joinpath(CGROUP, *parts)


def hierarchies() -> list[Hierarchy]:
    """Those of this machine, in the order in which they were mounted."""
    found = {}
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, options = line.split()[:4]
        if kind in ("cgroup", "cgroup2") and mount.startswith("/sys/fs/cgroup"):
            found[mount] = Hierarchy(Path(mount), kind, _remount_options(kind, options))
    return list(found.values())


def _remount_options(kind: str, options: str) -> str:
    if kind == "cgroup2":
        return ""
    wanted = [
        word
        for word in options.split(",")
        if word not in _NOT_CONTROLLERS and not word.startswith("release_agent")
    ]
    return ",".join(["none", *wanted] if wanted[0].startswith("name=") else wanted)


def create(lab: str, host: str) -> list[tuple[Hierarchy, Path]]:
    """Make a host's group in every hierarchy; the groups to join."""
    return [(item, _create(item, lab, host)) for item in hierarchies()]


def _create(item: Hierarchy, lab: str, host: str) -> Path:
    group = item.mount
    for part in (CGROUP, lab, host):
        parent, group = group, group / part
        group.mkdir(exist_ok=True)
        if item.kind == "cgroup2":
            _delegate(parent)
        elif "cpuset" in item.options:
            # A new cpuset is empty, and nothing can join an empty one.
            for name in ("cpuset.cpus", "cpuset.mems"):
                (group / name).write_text((parent / name).read_text())
    return group


def _delegate(parent: Path) -> None:
    wanted = set((parent / "cgroup.controllers").read_text().split())
    for name in wanted & {"cpu", "memory", "pids", "io"}:
        with contextlib.suppress(OSError):  # busy where processes sit in it: then without
            (parent / "cgroup.subtree_control").write_text(f"+{name}")


def _below(group: Path, name: str) -> Iterator[Path]:
    """The files of this name in a group and those below it; a group may go while they are walked,
    which is no error, as it is one for `Path.rglob`."""
    for folder, _, files in os.walk(group):
        if name in files:
            yield Path(folder) / name


def pids(lab: str, host: str = "") -> set[int]:
    """Every process of a lab, or of one host, as this machine numbers them."""
    found: set[int] = set()
    for item in hierarchies():
        for file in _below(item.group(lab, host), "cgroup.procs"):
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in file.read_text().split() if pid != "0")
    return found


def freeze(lab: str, host: str) -> None:
    """Stop every process of a host where it stands."""
    for item in hierarchies():
        for name, text in (("freezer.state", "FROZEN"), ("cgroup.freeze", "1")):
            if (file := item.group(lab, host) / name).exists():
                file.write_text(text)
                return


def frozen(lab: str, host: str) -> bool:
    """Whether `freeze` was called and `thaw` was not."""
    for item in hierarchies():
        for name, text in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            if (file := item.group(lab, host) / name).exists():
                return file.read_text().strip() != text
    return False


def thaw(lab: str, host: str = "") -> None:
    """Let all processes go on, those of paused containers too."""
    for item in hierarchies():
        for name, text in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            for file in _below(item.group(lab, host), name):
                with contextlib.suppress(OSError):  # removed in between
                    file.write_text(text)


def kill(lab: str, host: str = "") -> None:
    """Kill whatever lives in the groups of a host, or of a whole lab, until nothing does."""

    def emptied() -> bool:
        thaw(lab, host)  # frozen processes do not die
        left = pids(lab, host)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    wait_until(emptied, f"the end of all processes of {lab}/{host}")


def remove(lab: str, host: str = "") -> None:
    """Remove the groups of a host, or of a whole lab; what is not there is no error."""
    for item in hierarchies():
        group = item.group(lab, host)
        wait_until(functools.partial(_remove, group), f"removing {group}")
        with contextlib.suppress(OSError):  # the last lab takes the common one along
            item.group().rmdir()


def _remove(group: Path) -> bool:
    try:
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)
    except OSError:
        return not group.exists()
    return True
