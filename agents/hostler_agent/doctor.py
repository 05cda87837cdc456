"""Checks of `hostler doctor` on a host: Python, Docker and its GPUs, driver, /var/tmp, disk space,
leases, whether logging out ends processes (logind)."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from typing import Dict, List, Optional, Tuple

from hostler_agent import mounts
from hostler_agent.containers import Containers
from hostler_agent.doctor_settings import advice
from hostler_agent.folders import Folders
from hostler_agent.json_values import items
from hostler_agent.leasefolder import owner_of
from hostler_agent.leases import Leases
from hostler_agent.machine import docker_gpu
from hostler_agent.sampler import Sampler

_NETWORK = (
    "nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "glusterfs", "fuse.sshfs", "afs", "9p",
    "beegfs", "gpfs", "virtiofs", "vboxsf", "prl_fs", "vmhgfs", "fuse.vmhgfs-fuse",
)  # fmt: skip
_TMPFILES = "/etc/tmpfiles.d/hostler.conf"
_INSTANCE = re.compile(r"systemd-private-|[.-]inst$|^inst-")
_LITTLE = 10 * 1024**3
_LOGIND = ("/etc/systemd/logind.conf", "/etc/systemd/logind.conf.d", "/run/systemd/logind.conf.d")

Check = Dict[str, str]


def checks(folders: Folders, containers: Containers, sampler: Sampler) -> List[Check]:
    """Run all checks. Each result has `check`, `state` ("ok", "warn", "fail"), `message` and
    `remedy`."""
    return [
        _python(),
        _docker(containers),
        *_docker_details(containers, bool(sampler.devices)),
        *advice(containers.info, containers.components, containers.podman, bool(sampler.devices)),
        _nvml(sampler),
        *_folder(folders),
        *_logout(),
    ]


def _row(check: str, state: str, message: str, remedy: str = "") -> Check:
    return {"check": check, "state": state, "message": message, "remedy": remedy}


def _python() -> Check:
    version = "%d.%d.%d" % sys.version_info[:3]
    # Debian and Ubuntu include `venv`, but not the package that puts pip into an environment.
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        message = "Python %s, without the module %s: stages with `venv` fail here"
        remedy = "ask root to install the package python3-venv (apt-get install python3-venv)"
        return _row("python", "warn", message % (version, " and ".join(missing)), remedy)
    return _row("python", "ok", "Python %s (%s)" % (version, sys.executable))


def _docker(containers: Containers) -> Check:
    if containers.version and not containers.problem:
        kind = "Podman" if containers.podman else "Docker"
        return _row("docker", "ok", "%s %s (%s)" % (kind, containers.version, containers.path))
    problem = containers.problem or "Docker has not answered yet"
    remedy = "install Docker, or run stages without images on this host"
    if "may not use" in problem:
        remedy = "ask root to run: usermod -aG docker %s; then log in again" % _user()
    elif containers.path:
        remedy = "ask root to check: systemctl status docker"
    return _row("docker", "warn", problem, remedy)


def _docker_details(containers: Containers, gpus: bool) -> List[Check]:
    info = containers.info
    if not info:
        return []
    found = []
    if containers.podman:
        pass  # its containers do not depend on a daemon
    elif info.get("LiveRestoreEnabled"):
        found.append(_row("live-restore", "ok", "containers survive a restart of dockerd"))
    else:
        remedy = 'ask root to put {"live-restore": true} into /etc/docker/daemon.json'
        message = "a restart of dockerd (an update) stops all containers"
        found.append(_row("live-restore", "warn", message, remedy))
    way = docker_gpu(info)
    if way:
        found.append(_row("docker-gpu", "ok", "containers get GPUs by %s" % way))
    elif gpus:
        remedy = "install the NVIDIA Container Toolkit and run: nvidia-ctk runtime configure"
        found.append(_row("docker-gpu", "fail", "containers cannot get GPUs", remedy))
    rootless = any("rootless" in str(option) for option in items(info.get("SecurityOptions")))
    if rootless or containers.raises_limits is False:
        message = "containers get Docker's default limits of locked memory and stack"
        remedy = "NCCL needs more: ask root to raise memlock and stack for Docker itself"
        found.append(_row("docker-limits", "warn", message, remedy))
    root = info.get("DockerRootDir")
    if isinstance(root, str) and os.path.isdir(root):
        found.append(_space("docker-disk", root, "remove unused images: docker image prune"))
    return found


def _nvml(sampler: Sampler) -> Check:
    if sampler.problem:
        remedy = "install or load the NVIDIA driver; after an update, reboot"
        return _row("nvml", "fail", sampler.problem, remedy)
    bad = [(d.index, d.last.problem) for d in sampler.devices if d.last and d.last.problem]
    bad += [(d.index, "does not answer") for d in sampler.devices if d.stuck_since is not None]
    if bad:
        text = "; ".join("GPU %d: %s" % item for item in sorted(bad))
        return _row("nvml", "fail", text, "check dmesg for XID lines; often only a reboot helps")
    if not sampler.devices:
        return _row("nvml", "ok", "no GPUs, CPU stages only")
    return _row("nvml", "ok", "%d GPUs, driver %s" % (len(sampler.devices), sampler.nvml.driver))


def _folder(folders: Folders) -> List[Check]:
    kind = _file_system(folders.base)
    found = [_space("disk", folders.base, "free space in /var/tmp")]
    if kind and kind[1] in _NETWORK:
        message = "%s is on a network file system (%s on %s)" % (folders.base, kind[1], kind[0])
        found.append(_row("var-tmp", "fail", message, "put /var/tmp on a local disk"))
    elif kind and "noexec" in kind[2].split(","):
        message = "/var/tmp is mounted noexec: virtual environments cannot run"
        found.append(_row("var-tmp", "warn", message, "remount it without noexec"))
    else:
        found.append(_row("var-tmp", "ok", "%s is local and writable" % folders.base))
    return found + private_tmp(folders.leases) + leases(folders.leases)


def leases(folder: str) -> List[Check]:
    """Whether GPUs can be leased, and which users this depends on."""
    both = (os.path.dirname(folder), folder)
    lines = "printf 'd %%s 1777 root root -\\n' %s > %s && systemd-tmpfiles --create %s"
    remedy = "ask root to run: " + lines % (" ".join(both), _TMPFILES, _TMPFILES)
    problem = Leases(folder).problem()
    if problem is not None:
        return [_row("leases", "fail", "no GPU can be leased: %s" % problem, remedy)]
    try:
        owners = [os.lstat(path).st_uid for path in both]
    except OSError:
        return []  # no user has leased a GPU here yet
    others = [owner_of(uid) for uid in dict.fromkeys(owners) if uid != 0]
    if not others:
        return [_row("leases", "ok", "the leases are in %s, which root owns" % folder)]
    who = " and ".join(others)
    message = "%s created %s, and can remove the leases of all users there" % (who, folder)
    return [_row("leases", "warn", message, remedy)]


def private_tmp(folder: str, table: str = "/proc/self/mountinfo") -> List[Check]:
    """Report a private /var/tmp: pam_namespace or PrivateTmp may give each user another one, and
    then users do not see each other's leases. The check recognises it by its mount, whose source
    folder is named after the user or such an instance."""
    point, root = mounts.root_of(os.path.dirname(folder), table)
    own = {_user(), str(os.getuid())}
    private = any(part in own or _INSTANCE.search(part) for part in root.strip("/").split("/"))
    if point.count("/") < 2 or not private:
        return []
    message = "%s is private to this login (%s): the leases of other users are not visible"
    remedy = "ask root to remove %s from /etc/security/namespace.conf (or PrivateTmp)"
    return [_row("var-tmp", "fail", message % (point, root), remedy % point)]


def _space(check: str, path: str, remedy: str) -> Check:
    status = os.statvfs(path)
    free, total = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    message = "%.1f of %.1f GiB free at %s" % (free / 1024**3, total / 1024**3, path)
    little = free < min(_LITTLE, total // 10)
    return _row(check, "warn" if little else "ok", message, remedy if little else "")


def _file_system(path: str) -> Optional[Tuple[str, str, str]]:
    """(mount point, type, options) of the file system that holds a path."""
    best: Optional[Tuple[str, str, str]] = None
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
            for line in file:
                fields = line.split()
                if len(fields) < 4:
                    continue
                point = fields[1].replace("\\040", " ")
                inside = path == point or path.startswith(point.rstrip("/") + "/")
                if inside and (best is None or len(point) >= len(best[0])):
                    best = (point, fields[2], fields[3])
    except OSError:
        return None
    return best


def _logout() -> List[Check]:
    """Whether systemd ends the processes of a login at logout: jobs would then end with the
    connection."""
    for path in _logind_files():
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = [line.strip().lower().replace(" ", "") for line in file]
        except OSError:
            continue
        if "killuserprocesses=yes" in lines:
            message = "KillUserProcesses=yes (%s): process stages end with the connection" % path
            remedy = "use stages with images here, or run: loginctl enable-linger %s" % _user()
            return [_row("logout", "warn", message, remedy)]
    return []


def _logind_files() -> List[str]:
    found = []
    for path in _LOGIND:
        if os.path.isdir(path):
            found += [os.path.join(path, n) for n in sorted(os.listdir(path)) if n.endswith("conf")]
        elif os.path.exists(path):
            found.append(path)
    return found


def _user() -> str:
    return os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid())
