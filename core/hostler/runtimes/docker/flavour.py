"""What answers at a Docker socket, and how Podman wants to be asked. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hostler.runtimes.docker.options import NO_CHECK, OWN


@dataclass(frozen=True, slots=True)
class Flavour:
    """Docker, unless it says otherwise."""

    podman: bool = False
    rootless: bool = False
    limits: bool = True
    """It may raise limits; False: it was seen to refuse."""


def is_podman(version: Mapping[str, Any]) -> bool:
    """Whether the answer to `/version` is Podman's."""
    components = version.get("Components") or ()
    return any("podman" in str(part.get("Name", "")).lower() for part in components)


def is_rootless(info: Mapping[str, Any]) -> bool:
    """Whether the engine of an answer to `/info` runs without root."""
    return any("rootless" in str(option) for option in info.get("SecurityOptions") or ())


def suited(body: Mapping[str, Any], flavour: Flavour, log_cap: int) -> dict[str, Any]:
    """A container's options as this engine takes them. Podman has no `local` log; and without root
    the login's own files would belong to nobody inside, were its id not kept; nor may it then raise
    a limit."""
    config = dict(body["HostConfig"])
    if flavour.rootless or not flavour.limits:
        config.pop("Ulimits", None)
    if not flavour.podman:
        return {**body, "HostConfig": config}
    # It unpacks beside a volume of a container that never ran, not into it.
    config["Mounts"] = [each for each in config.get("Mounts", ()) if each["Target"] != OWN]
    config["LogConfig"] = {"Type": "k8s-file", "Config": {"max-size": f"{log_cap}b"}}
    if flavour.rootless:
        config["UsernsMode"] = "keep-id"
    # Its health checks need timers of systemd, which the login may not have.
    return {**body, "HostConfig": config, "Healthcheck": NO_CHECK}
