"""Whether this machine can run the lab, and if not, the one reason why."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.lab.layout import HERE

_PROGRAMS = {
    "busybox": "busybox-static",
    "debootstrap": "debootstrap",
    "gcc": "gcc",
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "nsenter": "util-linux",
    "ssh-keygen": "openssh-client",
}
_SYS_ADMIN = 1 << 21


def problem() -> str | None:
    """Why the lab cannot run here; None: it can. HOSTLER_LAB=off always gives a reason."""
    if os.environ.get("HOSTLER_LAB") == "off":
        return "the lab is switched off by HOSTLER_LAB=off"
    if sys.platform != "linux":
        return "the lab needs Linux: its hosts are namespaces"
    if os.geteuid() != 0 or not _may_mount():
        return "the lab needs root (CAP_SYS_ADMIN): its hosts mount file systems"
    missing = sorted(package for name, package in _PROGRAMS.items() if not shutil.which(name))
    if missing:
        listed = HERE.relative_to(HERE.parent.parent) / "packages.txt"
        return f"the lab needs packages ({listed}): {', '.join(missing)}"
    if not Path("/dev/loop-control").exists():
        return "the lab needs loop devices: /dev/loop-control is not there"
    return None


def _may_mount() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) & _SYS_ADMIN)
    return False
