"""Options and limits of a container (memory and the host's reserve, CPUs, processes, log, GPUs,
variables), and the host folders that are never mounted. Pure."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hostler.base.errors import InputError
from hostler.base.mount_targets import clash, clash_among, read_mount_target
from hostler.base.units import GIB, MIB
from hostler.model.jobs import Job, Mount
from hostler.runtimes.command import argv, contract_env, relative
from hostler.runtimes.docker.body import (
    ContainerBody,
    DeviceRequest,
    HealthCheck,
    HostConfig,
    LogConfig,
    MountEntry,
    Ulimit,
)
from hostler_agent.slurm_commands import VARIABLE

WORK = "/work"
"""The working folder inside every container."""

HOME = f"{WORK}/.hostler/home"
"""HOME if the user's own is not mounted: programs expect a writable HOME."""

PIDS_LIMIT = 4096

LIMITS: tuple[Ulimit, ...] = (
    {"Name": "memlock", "Soft": -1, "Hard": -1},
    {"Name": "stack", "Soft": 64 * MIB, "Hard": 64 * MIB},
)
"""NCCL locks memory and has deep stacks; it fails with Docker's 64 KiB and 8 MiB."""

NO_CHECK: HealthCheck = {"Test": ["NONE"]}

# With one of these, a container could control the host or another user's session.
_NEVER_MOUNTED = ("/", "/var", "/var/lib")
# Folders below these are refused too: keys and passwords, devices, kernel files, files of other
# containers, and the sockets of services, of sessions, and of container engines.
_NOR_BELOW = (
    "/etc", "/proc", "/sys", "/dev", "/boot", "/run", "/var/run",
    "/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/var/lib/podman",
)  # fmt: skip
_OTHER_PATH = "choose another path in `mounts`"
_DISKS = "/run/media/"
"""Desktops mount removable disks here; folders below it are ordinary folders."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The host's report on a folder to mount."""

    real: str
    """Its path with links resolved."""
    private: bool = False
    """Whether its file system does not share mounts; Docker then refuses `rslave`."""


DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The PATH that engines set if the image has none."""

OWN = f"{WORK}/.hostler"
"""Hostler's own folder, with the metrics file."""

COMMANDS = "/.hostler-commands"
"""The folder of the Slurm commands, for stages that use them. It belongs to root, like the image's
files."""


def bind_paths(job: Job) -> list[str]:
    """Host folders that the container will see."""
    return [mount.path for mount in _binds(job)]


def container_options(job: Job, seen: Mapping[str, Seen] | None = None) -> ContainerBody:
    """The JSON body for `POST /containers/create`. `seen`: the host's report on `bind_paths`.

    Raises InputError if the job cannot run in a container: no image, no user id, a mount that would
    give control of the host, a path outside the working folder.
    """
    if job.image is None:
        raise InputError(f"stage {job.stage} has no image", remedy="set `image` for the stage")
    if job.uid is None:
        raise InputError(
            f"the user id of {job.owner} on {job.host} is not known",
            remedy="wait until the host answers, or set the user's uid for this host; a container "
            "never runs as the image's own user",
        )
    _check_targets(job)
    gid = job.gid if job.gid is not None else job.uid
    return {
        "Image": job.image_digest or job.image,
        "Cmd": argv(job),
        "Env": [f"{key}={value}" for key, value in _env(job).items()],
        "User": f"{job.uid}:{gid}",
        "WorkingDir": _workdir(job),
        "Labels": labels(job),
        "StopSignal": "SIGTERM",
        "StopTimeout": math.ceil(job.grace),
        "Healthcheck": _health_check(job),
        "HostConfig": _host_config(job, seen or {}),
    }


def cpu_shares(cpus: float) -> int:
    """A weight, not a limit: the container may use idle cores."""
    return min(max(round(cpus * 1024), 2), 262144)


def with_user_programs(body: ContainerBody, image_env: Sequence[str]) -> ContainerBody:
    """The body with `~/.local/bin`, where `pip install --user` puts programs, after the image's own
    PATH. A PATH of the stage or the lab stays unchanged. The Slurm commands come before both."""
    env = _pairs(body["Env"])
    if "PATH" in env and VARIABLE not in env:
        return body
    path = env.get("PATH") or f"{search_path(image_env)}:{env['HOME']}/.local/bin"
    if VARIABLE in env:
        path = f"{COMMANDS}:{path}"
    others = [each for each in body["Env"] if not each.startswith("PATH=")]
    return {**body, "Env": [*others, f"PATH={path}"]}


def search_path(env: Sequence[str]) -> str:
    """PATH of the variables in Docker's list; if there is none, Docker's own."""
    return _pairs(env).get("PATH") or DEFAULT_PATH


def _pairs(env: Sequence[str]) -> dict[str, str]:
    return {name: value for name, _, value in (each.partition("=") for each in env)}


def mount_targets(job: Job) -> list[str]:
    """Paths in the container at which host folders are mounted."""
    return [_inside(mount) for mount in _binds(job)]


def writes_to_binds(job: Job) -> bool:
    """Whether any mounted host folder is writable in the container."""
    return any(not mount.read_only for mount in _binds(job))


def labels(job: Job) -> dict[str, str]:
    """Labels of the container; with its name they show that it is Hostler's."""
    return {
        **job.labels,
        "hostler.daemon": job.daemon_id,
        "hostler.attempt": job.attempt_id,
        "hostler.run": job.run_id,
        "hostler.stage": job.stage,
        "hostler.owner": job.owner,
        "hostler.gpus": ",".join(job.gpus),
    }


def volume_name(job: Job) -> str:
    """Name of the volume that keeps a stage's checkpoints for its retries."""
    return f"hostler-{job.checkpoint_key}"


def memory_limit(job: Job) -> int | None:
    """Bytes that a container may use: the requested amount, or else the host's memory less a
    reserve.

    None if neither is known. The reserve is an eighth (at least 1 GiB) for sshd, dockerd and other
    programs, so that a stage without a limit is killed alone and the host keeps working.
    """
    if job.ram is not None:
        return job.ram
    if job.host_memory is None:
        return None
    return max(job.host_memory - max(GIB, job.host_memory // 8), 64 * MIB)


def _host_config(job: Job, seen: Mapping[str, Seen]) -> HostConfig:
    memory = memory_limit(job)
    config: HostConfig = {
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "GroupAdd": [str(group) for group in job.groups],
        "Init": True,
        "PidsLimit": PIDS_LIMIT,
        "Ulimits": list(LIMITS) if job.raise_limits else [],
        "IpcMode": "private",
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        "LogConfig": _log_config(job.log_cap),
        "CpuShares": cpu_shares(job.cpus),
        "Mounts": [
            *(_bind(mount, seen.get(mount.path)) for mount in _binds(job)),
            *_checkpoint(job),
            _own_folder(),
        ],
    }
    if memory is not None:
        config["Memory"] = config["MemorySwap"] = memory
    shm = job.shm if job.shm is not None else memory and memory // 2
    if shm:
        # Docker's 64 MiB are too small for data loaders; Linux itself uses half of the memory.
        config["ShmSize"] = shm
    if job.network is not None:
        config["NetworkMode"] = job.network
    if job.gpus:
        config["DeviceRequests"] = [_device_request(job)]
    return config


def _health_check(job: Job) -> HealthCheck:
    """A check that the container may still open its GPUs: a reload of systemd can remove this
    right, and running programs notice it only at their next driver call. It replaces the image's
    own check."""
    if not job.gpus or job.gpu_access == "cdi":  # the engine itself manages devices from CDI
        return NO_CHECK
    control = "/dev/nvidiactl"
    return {
        "Test": ["CMD", "test", "!", "-e", control, "-o", "-r", control],
        "Interval": 30 * 10**9,
        "Timeout": 10 * 10**9,
        "Retries": 1,
    }


def _log_config(cap: int) -> LogConfig:
    # `json-file` replaces each byte that is not UTF-8; `local` keeps the output unchanged. Five
    # files of a quarter each hold `cap` bytes at any time, even just after a rotation.
    size = max(math.ceil(cap / 4), MIB)
    return {
        "Type": "local",
        "Config": {"max-size": f"{size}b", "max-file": "5", "compress": "false"},
    }


def _device_request(job: Job) -> DeviceRequest:
    if job.gpu_access == "cdi":
        return {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={uuid}" for uuid in job.gpus]}
    return {"Driver": "nvidia", "DeviceIDs": list(job.gpus), "Capabilities": [["gpu"]]}


def _env(job: Job) -> dict[str, str]:
    env = {"HOME": _home(job)}
    if job.user is not None:
        env |= {"USER": job.user, "LOGNAME": job.user}
    env |= job.env
    env |= contract_env(job, WORK)
    if job.slurm_commands:
        env[VARIABLE] = COMMANDS
    if (memory := memory_limit(job)) is not None:
        env["HOSTLER_RAM_BYTES"] = str(memory)
    if not job.gpus:
        # CUDA images request all GPUs, and would get them if nvidia is the default runtime.
        env |= {"NVIDIA_VISIBLE_DEVICES": "void", "CUDA_VISIBLE_DEVICES": ""}
    return env


def _home(job: Job) -> str:
    if job.home is not None and any(_covers(path, job.home) for path in _at_own_paths(job)):
        return job.home
    return HOME


def _workdir(job: Job) -> str:
    base = job.code_path or WORK
    if job.workdir is None:
        return base
    if posixpath.isabs(job.workdir):
        return posixpath.normpath(job.workdir)
    return posixpath.normpath(posixpath.join(base, relative(job.workdir)))


def _binds(job: Job) -> list[Mount]:
    binds = list(job.mounts)
    code = job.code_path
    if code is not None and Mount(path=code, read_only=False) not in binds:
        binds = [mount for mount in binds if mount.path != code or mount.target is not None]
        binds.append(Mount(path=code, read_only=False))
    return binds


def _at_own_paths(job: Job) -> list[str]:
    return [mount.path for mount in _binds(job) if mount.target is None]


def _inside(mount: Mount) -> str:
    return _normal(mount.path) if mount.target is None else mount.target


def _check_targets(job: Job) -> None:
    """Raise InputError for invalid target paths of mounts. The stage may come from a host's copy,
    and the config may have changed since its first check."""
    targets = [mount.target for mount in _binds(job) if mount.target is not None]
    try:
        for target in targets:
            read_mount_target(target)
    except ValueError as error:
        raise InputError(f"stage {job.stage}: {error}", remedy=_OTHER_PATH) from error
    pair = clash(targets, map(_normal, _at_own_paths(job))) or clash_among(targets)
    if pair is not None:
        raise InputError(
            f"stage {job.stage} mounts folders at {pair[0]} and {pair[1]}: one is inside the other",
            remedy=_OTHER_PATH,
        )


def _gives_away(path: str) -> bool:
    if path in _NEVER_MOUNTED or path.endswith(("docker.sock", "podman.sock")):
        return True
    return not path.startswith(_DISKS) and any(_covers(each, path) for each in _NOR_BELOW)


def _refuse_never_mounted(path: str, real: str) -> None:
    """Raise InputError for a folder that is never mounted. `real`: its path with links resolved."""
    for each in (path, real):
        if _gives_away(each):
            leads = "" if each == path else f" (it leads to {each})"
            raise InputError(
                f"{path} is never mounted into a container{leads}",
                remedy="mount a folder that contains only data instead",
            )


def _bind(mount: Mount, seen: Seen | None) -> MountEntry:
    path = _normal(mount.path)
    real = _normal(seen.real) if seen is not None else path
    for each in (path, real):
        if not posixpath.isabs(each):
            raise InputError(f"mount {each!r} is not an absolute path")
    if mount.target is None and _covers(path, WORK) and path != "/":
        raise InputError(f"{path} is the working folder of stages; mount a folder below it")
    _refuse_never_mounted(path, real)
    # Docker reads the path later, as root, so the resolved path is used: a link that changes
    # meanwhile has no effect. With `rslave`, file systems that autofs mounts later appear in the
    # container.
    return {
        "Type": "bind",
        "Source": real,
        "Target": _inside(mount),
        "ReadOnly": mount.read_only,
        "BindOptions": {
            "Propagation": "rprivate" if seen is not None and seen.private else "rslave"
        },
    }


def _normal(path: str) -> str:
    # `normpath` keeps two slashes at the start.
    return re.sub("^//", "/", posixpath.normpath(path))


def _checkpoint(job: Job) -> list[MountEntry]:
    if job.checkpoint is None or job.checkpoint_key is None:
        return []
    return [
        {
            "Type": "volume",
            "Source": volume_name(job),
            "Target": posixpath.join(WORK, relative(job.checkpoint)),
            "VolumeOptions": {
                "NoCopy": True,
                "Labels": {
                    "hostler.daemon": job.daemon_id,
                    "hostler.checkpoint": job.checkpoint_key,
                    "hostler.run": job.run_id,
                    "hostler.stage": job.stage,
                    "hostler.owner": job.owner,
                },
            },
        }
    ]


def _own_folder() -> MountEntry:
    """A separate mount, so that the stage cannot replace the folder by a link: the metrics are read
    as root. It is removed with the container."""
    return {"Type": "volume", "Target": OWN, "VolumeOptions": {"NoCopy": True}}


def _covers(folder: str, path: str) -> bool:
    folder = posixpath.normpath(folder).rstrip("/")
    return path == folder or path.startswith(folder + "/")
