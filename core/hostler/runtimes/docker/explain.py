"""The wording of Docker's errors, and the patterns that recognise a failed pull, a full disk or a
missing GPU; `decide/start_failures` decides whose fault it is. Pure."""

from __future__ import annotations

import re

from hostler.base.errors import EngineError, HostFault, NoImage
from hostler.decide.start_failures import (
    NO_DRIVER,
    NO_LAYER,
    NO_SPACE,
    NOT_FOUND,
    Fault,
    fault_of_docker,
    is_without_containerd,
)

_NO_SPACE = re.compile(rf"(?:(?<![^\s:\"'(=])(/[^\s:]*): )?{NO_SPACE}")
_NO_LAYER = re.compile(NO_LAYER)
_NOT_FOUND = re.compile(rf'exec: "([^"]*)": ({NOT_FOUND}|stat .*no such file)')
_LACKS_ITS_OWN = re.compile(rf'exec: "([^"]*)": {NOT_FOUND}')
_NO_CONTAINERD = re.compile(r"(?:dial|read|write) unix(?:://| )[^/\s]*(/\S+?): ")
_HOOK = re.compile(r"error running (?:\w+ )?hook.*?stderr: (.*?)(?:: unknown)?$", re.DOTALL)
_NO_DEVICE = re.compile(rf'{NO_DRIVER}([^"]*)"')
_UNKNOWN_GPU = re.compile(
    r"unknown device|unresolvable CDI devices? (\S+)|device error: (\S+): unknown|"
    r"invalid CDI device|nvidia-container-cli: device error"
)
_BIND_SOURCE = re.compile(r"bind source path does not exist: (\S+)")
_REGISTRY_AUTH = re.compile(
    r"unauthorized|authentication required|pull access denied|denied: requested access|"
    r"no basic auth credentials|401 Unauthorized|403 Forbidden"
)
_NO_MANIFEST = re.compile(r"manifest unknown|manifest for .* not found|not found: manifest")
_NO_REGISTRY = re.compile(
    r"dial tcp|no such host|i/o timeout|TLS handshake timeout|connection refused|"
    r"server misbehaving|network is unreachable|Client\.Timeout|context deadline exceeded"
)
_LONGEST = 4000
"""Characters of a text that are examined: a host may send millions, and the time of some patterns
grows with the square of the length."""


def shortened(text: str) -> str:
    """Beginning and end of Docker's message, which contain the causes."""
    text, half = text.strip(), _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} … {text[-half:]}"


def engine_error(host: str, what: str, status: int, text: str) -> EngineError:
    """The error for an answer of Docker: `what` was attempted, `text` is Docker's message."""
    text = shortened(text)
    fault = fault_of_docker(text)
    if fault is None:
        message, remedy = explain(host, what, status, text)
        return EngineError(host, message, remedy=remedy, status=status)
    message, remedy = _explain_fault(host, text) or explain(host, what, status, text)
    return HostFault(host, message, remedy=remedy, status=status, gpus_only=fault is Fault.GPUS)


def _explain_fault(host: str, text: str) -> tuple[str, str] | None:
    """Cause and remedy if Docker itself lacks something; None: there is another cause."""
    if match := _NO_CONTAINERD.search(text):
        return (
            f"containerd on {host} does not answer at {match[1]}: Docker starts nothing there",
            "restart it there: systemctl restart containerd docker",
        )
    if "catatonit" not in text and (match := _LACKS_ITS_OWN.search(text)):
        return f"Docker on {host} lacks its own program {match[1]}", "install it there"
    if match := _HOOK.search(text):
        said = match[1].strip() or "nothing"
        return (
            f"NVIDIA's hook on {host} fails: {said}",
            "try nvidia-smi and nvidia-container-cli info there",
        )
    return None


def explain(host: str, what: str, status: int, text: str) -> tuple[str, str]:
    """A sentence with the cause, and a remedy (may be empty)."""
    if match := _NO_SPACE.search(text):
        where = match[1] or _path_in(text) or "Docker's data folder"
        return f"no space on {host}: {where}", f"free space on {host}: hostler gc, docker prune"
    if _NO_LAYER.search(text):
        remedy = f"often its disk is full: see df -h there, then hostler gc, docker prune. {text}"
        return f"Docker on {host} cannot make the folders of a container", remedy
    if "permission denied" in text and "docker" in text.lower() and "socket" in text.lower():
        return permission_denied(host)
    if "catatonit" in text:
        return f"Podman on {host} lacks its init program", "ask root to install catatonit there"
    if "netavark" in text:
        remedy = f"repair Podman's network on {host}, or set network under [docker]: {text}"
        return f"Podman on {host} cannot make a network for the container", remedy
    if match := _NOT_FOUND.search(text):
        return (
            f"command {match[1]!r} was not found in the image",
            "check the command, or use an image that has it",
        )
    if match := _NO_DEVICE.search(text):
        return (
            f"Docker on {host} has no way to give GPUs to containers",
            "install the NVIDIA container toolkit there and restart Docker",
        )
    if _UNKNOWN_GPU.search(text):
        return f"Docker on {host} does not know the GPU: {text}", "see hostler doctor for this host"
    if match := _BIND_SOURCE.search(text):
        return f"{match[1]} does not exist on {host}", "create it there, or remove the mount"
    if status == 409:
        return f"{what}: {text}", "something else has this name or is using it"
    return f"{what}: {text or f'Docker answered {status}'}", ""


def pull_error(host: str, image: str, status: int, text: str) -> EngineError:
    """The error for an image that could not be pulled."""
    text = shortened(text)
    if is_without_containerd(text):
        return engine_error(host, f"pulling {image}", status, text)
    message, remedy = _explain_pull(host, image, status, text)
    kind = NoImage if _cannot_pull(text) else EngineError
    return kind(host, message, remedy=remedy, status=status)


def _cannot_pull(text: str) -> bool:
    """Whether only the pull fails: the host could run the image if it had it."""
    patterns = (_REGISTRY_AUTH, _NO_MANIFEST, _NO_REGISTRY)
    is_limited = "toomanyrequests" in text
    return not _NO_SPACE.search(text) and (is_limited or any(p.search(text) for p in patterns))


def permission_denied(host: str) -> tuple[str, str]:
    """Cause and remedy if the login may not use Docker's socket."""
    return (
        f"this login may not use Docker on {host}",
        "have an administrator add it to the group docker, then reconnect",
    )


def _explain_pull(host: str, image: str, status: int, text: str) -> tuple[str, str]:
    if _NO_SPACE.search(text):
        return explain(host, f"pulling {image}", status, text)
    if _REGISTRY_AUTH.search(text):
        return (
            f"the registry refused {image}: it does not exist there, or needs a login",
            "check the name; for a private registry run docker login where the daemon runs",
        )
    if "@" in image and (_NO_MANIFEST.search(text) or _NO_REGISTRY.search(text)):
        return (
            f"{image} is not on {host}, which cannot pull it: {text}",
            "the run uses exactly this image: pull it there, or start over with hostler rerun",
        )
    if _NO_MANIFEST.search(text):
        return f"there is no image {image}", "check the name and the tag"
    if "toomanyrequests" in text:
        return f"the registry's pull limit is reached: {image}", "docker login, or wait"
    if _NO_REGISTRY.search(text):
        return (
            f"{image} is not on {host}, which cannot reach the registry",
            f"load it there (docker save, docker load), or give {host} network access: {text}",
        )
    return f"pulling {image}: {text}", ""


def _path_in(text: str) -> str | None:
    match = re.search(r"(/var/lib/docker[^\s:\"']*)", text)
    return match[1] if match else None
