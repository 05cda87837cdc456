"""Checks of `hostler doctor` on a host: old runc and NVIDIA toolkit, Docker on TCP, log rotation,
/dev/char links, MaxStartups of sshd.

Each function takes values that were read and returns a row of `doctor`, or None if there is nothing
to report.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import stat
import subprocess
from typing import Dict, Iterable, List, Optional, Tuple

from hostler_agent.json_values import Json, Message, items, table

Check = Dict[str, str]
Version = Tuple[int, ...]

RUNC_FIXED = ((1, 2, 8), (1, 3, 3), (1, 4, 0))
"""The first version of each series without the container escapes of November 2025 (CVE-2025-31133,
52565, 52881)."""
TOOLKIT_FIXED = (1, 17, 8)
"""The first version without CVE-2025-23266."""
STARTUPS = 10
"""sshd's default: so many connections may be logging in at once before sshd drops some."""
_DAEMON_JSON = "/etc/docker/daemon.json"
_SSHD = "/etc/ssh/sshd_config"
_PLAIN_PORT = 2375
_LISTENS = "0A"


def advice(info: Message, components: Dict[str, str], podman: bool, gpus: bool) -> List[Check]:
    """Return all advice for this host; advice about Docker only if Docker answers."""
    found: List[Optional[Check]] = []
    if info:
        found.append(runc(components.get("runc", "")))
        found.append(toolkit(_toolkit_version() if gpus else ""))
    if info and not podman:
        found.append(tcp(items(info.get("Warnings")), _listening_ports()))
        found.append(logs(str(info.get("LoggingDriver")), _json_file(_DAEMON_JSON)))
        if gpus:
            found.append(dev_char(str(info.get("CgroupDriver")), glob.glob("/dev/nvidia[0-9]*")))
    found.append(ssh_limits(_sshd_lines(_SSHD)))
    return [check for check in found if check is not None]


def runc(version: str) -> Optional[Check]:
    """Containers can escape from an old runc."""
    found = _version(version)
    if not found:
        return None
    if any(found[:2] == fixed[:2] and found >= fixed for fixed in RUNC_FIXED):
        return _row("runc", "ok", "runc %s" % version)
    if found[:2] > RUNC_FIXED[-1][:2]:
        return _row("runc", "ok", "runc %s" % version)
    message = "runc %s: images can break out of their containers (CVE-2025-31133 and two more)"
    remedy = "ask root to update runc to 1.2.8, 1.3.3 or later, unless your distribution has"
    return _row("runc", "warn", message % version, remedy + " put the fix into this version")


def toolkit(version: str) -> Optional[Check]:
    """Images can run code as root through an old toolkit."""
    found = _version(version)
    if not found:
        return None
    if found >= TOOLKIT_FIXED:
        return _row("toolkit", "ok", "NVIDIA Container Toolkit %s" % version)
    message = "NVIDIA Container Toolkit %s: an image can become root (CVE-2025-23266)" % version
    return _row("toolkit", "warn", message, "ask root to update nvidia-container-toolkit to 1.17.8")


def tcp(warnings: Iterable[Json], ports: Iterable[int]) -> Optional[Check]:
    """Every user who can reach such a port has root rights."""
    told = any("accessible on http" in str(warning) for warning in warnings)
    if not told and _PLAIN_PORT not in ports:
        return None
    message = "Docker listens on TCP without a login: everyone who can reach the port is root here"
    remedy = "ask root to remove tcp:// from `hosts` in %s and of dockerd's -H" % _DAEMON_JSON
    return _row("docker-tcp", "fail", message, remedy)


def logs(driver: str, settings: Message) -> Optional[Check]:
    """Without rotation the log of one container fills the disk."""
    if driver != "json-file" or table(settings.get("log-opts")).get("max-size"):
        return None
    message = (
        "the logs of other users' containers are never rotated (json-file): they fill the disk"
    )
    remedy = 'ask root to put {"log-driver": "local"} into %s' % _DAEMON_JSON
    return _row("docker-logs", "warn", message, remedy)


def dev_char(driver: str, devices: Iterable[str], links: str = "/dev/char") -> Optional[Check]:
    """At a daemon-reload systemd takes the GPUs from running containers if it cannot find their
    devices by number."""
    if driver != "systemd":
        return None
    missing = [path for path in sorted(devices) if not _is_linked(path, links)]
    if not missing:
        return None
    message = "containers lose their GPUs when systemd reloads: %s has no link in /dev/char"
    remedy = "ask root to run: nvidia-ctk system create-dev-char-symlinks --create-all"
    return _row("dev-char", "warn", message % missing[0], remedy)


def ssh_limits(lines: Iterable[str]) -> Optional[Check]:
    """sshd drops connections when many people log in at once."""
    for line in lines:
        words = line.split("#")[0].replace("=", " ").split()
        if len(words) < 2 or words[0].lower() != "maxstartups":
            continue
        first = words[1].split(":")[0]
        if not first.isdigit() or int(first) >= STARTUPS:
            return None  # sshd uses the first of several lines
        message = "MaxStartups %s: sshd drops logins when several come at once" % words[1]
        remedy = "ask root to put MaxStartups 10:30:100 into %s" % _SSHD
        return _row("ssh-limits", "warn", message, remedy)
    return None


def _row(check: str, state: str, message: str, remedy: str = "") -> Check:
    return {"check": check, "state": state, "message": message, "remedy": remedy}


def _version(text: str) -> Version:
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def _is_linked(path: str, links: str) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return True  # removed meanwhile: nothing to report
    if not stat.S_ISCHR(status.st_mode):
        return True
    number = "%d:%d" % (os.major(status.st_rdev), os.minor(status.st_rdev))
    return os.path.lexists(os.path.join(links, number))


def _toolkit_version() -> str:
    program = shutil.which("nvidia-ctk") or shutil.which(
        "nvidia-ctk", path="/usr/bin:/usr/local/bin"
    )
    if program is None:
        return ""
    try:
        said = subprocess.run(
            [program, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, timeout=3, check=False,
        ).stdout.decode("utf-8", "replace")  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"version\s+v?(\d+\.\d+\.\d+)", said)
    return found.group(1) if found else ""


def _listening_ports() -> List[int]:
    found = []
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(name) as file:
                rows = [line.split() for line in file.readlines()[1:]]
        except OSError:
            continue
        found += [int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTENS]
    return found


def _json_file(path: str) -> Message:
    try:
        with open(path, encoding="utf-8") as file:
            return table(json.load(file))
    except (OSError, ValueError):
        return {}


def _sshd_lines(path: str) -> List[str]:
    """sshd's settings in its order: an Include is replaced by the files that it names."""
    lines: List[str] = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            own = file.read().splitlines()
    except OSError:
        return lines
    for line in own:
        words = line.split()
        if len(words) < 2 or words[0].lower() != "include":
            lines.append(line)
            continue
        for pattern in words[1:]:
            for name in sorted(glob.glob(os.path.join(os.path.dirname(path), pattern))):
                lines += _sshd_lines(name) if name != path else []
    return lines
