"""Tells Docker from Podman and rootless engines, and adapts a container's options to them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from hostler.runtimes.docker.body import ContainerBody, HostConfig
from hostler.runtimes.docker.options import NO_CHECK, OWN
from hostler_agent.json_values import Message, items, tables


@dataclass(frozen=True, slots=True)
class Flavour:
    """The kind of engine: Docker by default."""

    podman: bool = False
    rootless: bool = False
    limits: bool = True
    """It may raise limits; False: it has refused once."""


def is_podman(version: Message) -> bool:
    """Whether the answer to `/version` is Podman's."""
    parts = tables(version.get("Components"))
    return any("podman" in str(part.get("Name", "")).lower() for part in parts)


def is_rootless(info: Message) -> bool:
    """Whether the engine of an answer to `/info` runs without root."""
    return any("rootless" in str(option) for option in items(info.get("SecurityOptions")))


def suited(body: ContainerBody, flavour: Flavour, log_cap: int) -> ContainerBody:
    """A container's options in the form for this engine. Podman has no `local` log. Without root,
    it must keep the login's id, else the login's files belong to no user inside; and it may not
    raise a limit."""
    config: HostConfig = {**body["HostConfig"]}
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
