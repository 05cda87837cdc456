"""Whether a failed start is the host's fault or the stage's: patterns in the errors of Docker and
agent; sentences for people are in `runtimes.docker.explain`.

Pure: text in, verdict out. Only certain faults of the host count as such. All other errors count as
a try of the stage, and the next try goes to another host; so does every text that no pattern
matches. These texts contain names that a stage chooses (its program, its folder, its image). So
each pattern is tied to the beginning or the end of a text, which only Docker itself writes.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Fault(StrEnum):
    """The part of a host that does not work."""

    HOST = "host"
    """No stage can start there."""
    GPUS = "gpus"
    """No stage can get GPUs there; stages without GPUs may start."""


# `runtimes.docker.explain` has remedies for these messages too, anywhere in a text.
NO_SPACE = "no space left on device"
NO_LAYER = r"/overlay2/\S+: no such file or directory"
"""The error when the disk was full while Docker made a container's folders."""
NO_DRIVER = 'could not select device driver "'
"""Docker's error if it has no driver for GPUs."""
NOT_FOUND = "executable file not found"

_STEPS = re.compile(
    r"(?:failed to create task for container: |failed to create shim(?: task)?: "
    r"|OCI runtime create failed: |runc create failed: |crun: "
    r"|unable to start container process: |error during container init: "
    r"|container_linux\.go:\d+: starting container process caused: |process_linux\.go:\d+: )*"
)
"""The prefixes of Docker, containerd and runc before the cause, one after the other."""

_LIMITS = re.compile(r"(?:container init caused: )?(?:error )?(?:setting rlimits?|setrlimit)\b")
"""The cause after these steps if the engine may not raise limits."""

_STAGE = re.compile(r"exec: |chdir to cwd |executable file ")
"""The cause after some of these steps if the container exists, but its program cannot run."""

_HOOK = re.compile(
    r"(?:error running |running )?(?:prestart |createRuntime |createContainer |startContainer )?"
    r"hook #?\d+:|error running (?:prestart |createRuntime )?hook"
)
_OF_THE_IMAGE = re.compile(r"requirement error|mount error|ldcache error|file creation failed")
"""Why NVIDIA's hook refuses an image: it needs a newer driver, or its files are in the way."""

_GPUS = re.compile(
    NO_DRIVER + r'|exec: "nvidia-container-runtime[^"]*": executable file '
    r"|CDI device injection failed|(?:error |failed to )(?:inject|injecting) CDI devices"
    r"|could not apply required modification to OCI specification"
    r"|failed to discover GPU vendor from CDI|nvidia-container-cli: "
)

_GONE = re.compile(
    r'(?:closing transport due to: )?connection error: desc = "'
    r"|error reading (?:from server|server preface): |(?:dial|read|write) unix \S*: "
    r'|failed to dial "/\S*containerd\S*": |Unavailable: '
    r"|ttrpc: (?:server )?closed|transport is closing|rpc error: code = (?:Unavailable|14)\b"
    r"|the connection is draining|the stream is rejected because server is draining the connection"
    r"|(?:rpc error: code = Canceled desc = )?grpc: the (?:client )?connection is "
    r"(?:closing|unavailable)"
    # This agent, which made the request, still runs. So Docker or containerd cancelled it.
    r"|context canceled(?:: unknown)?$"
    # It concerns only containerd's own database.
    r"|error creating temporary lease: "
)
"""After the steps: containerd is down, or ends in the middle of a call."""

_HOST = re.compile(
    r"failed to start shim: |unable to retrieve OCI runtime error \("
    r'|exec: "(?:docker-init|tini|runc|crun|containerd-shim[^"]*)": executable file '
    r"|unknown or invalid runtime name: "
    r"|mountpoint for \w+ not found|cgroups: cgroup mountpoint does not exist"
    r"|unable to apply cgroup configuration: "
    r"|error creating overlay mount to |failed to mount overlay|error mounting overlay"
    r"|(?:failed to set up container networking: )?failed to create endpoint \S+ on network "
    r"|network \S+ not found$|no available IPv4 addresses"
    r"|setup network: .*netavark|netavark: "
    r"|this login may not use Docker"
)

_LACKS = re.compile(
    rf"(?:{NO_SPACE}|disk quota exceeded|too many open files|cannot allocate memory"
    r"|resource temporarily unavailable|structure needs cleaning"
    r"|/(?:overlay2|containers|volumes|image|containerd)/\S*: "
    r"(?:read-only file system|input/output error))"
    r"(?:: unknown)?$",
    re.IGNORECASE,
)
_NO_LAYER = re.compile(NO_LAYER + "$")

_AGENT_LACKS = re.compile(
    r"(?:No space left on device|Disk quota exceeded|Read-only file system|Input/output error"
    r"|Cannot allocate memory|Resource temporarily unavailable|Too many open files"
    r"|Structure needs cleaning)(?:: '[^']*')?$"
)
"""The end of an error of the system in Python, with the path of the file."""


def fault_of_docker(text: str) -> Fault | None:
    """The fault of the host if Docker refused with this text to make or start a container; None:
    the attempt counts as a try."""
    text = text.strip()
    steps = _STEPS.match(text)
    cause = text[steps.end() :] if steps is not None else text
    if cause != text and _STAGE.match(cause):
        return None
    if _HOOK.match(cause):
        return None if _OF_THE_IMAGE.search(cause) else Fault.GPUS
    if _GPUS.match(cause):
        return Fault.GPUS
    if _GONE.match(cause) or _HOST.match(cause) or _LACKS.search(cause) or _NO_LAYER.search(cause):
        return Fault.HOST
    return None


def is_without_containerd(text: str) -> bool:
    """Whether this text of Docker, for example about a pull, means that containerd is gone."""
    return _GONE.match(text.strip()) is not None


def refuses_limits(text: str) -> bool:
    """Whether Docker refused with this text to raise a container's limits."""
    steps = _STEPS.match(text)
    return _LIMITS.match(text, steps.end() if steps is not None else 0) is not None


def fault_of_agent(text: str) -> Fault | None:
    """The fault of the host if the agent failed with this text to make or start a process; None:
    the attempt counts as a try."""
    return Fault.HOST if _AGENT_LACKS.search(text.strip()) else None
