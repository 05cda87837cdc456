"""Recognises Docker, Podman and rootless engines, and adapts a container's options to them.
Pure."""

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
    """Whether it may raise limits; False: it refused once."""


def is_podman(version: Message) -> bool:
    """Whether an answer to `/version` is Podman's."""
    parts = tables(version.get("Components"))
    return any("podman" in str(part.get("Name", "")).lower() for part in parts)


def is_rootless(info: Message) -> bool:
    """Whether the engine of an answer to `/info` runs without root."""
    return any("rootless" in str(option) for option in items(info.get("SecurityOptions")))


def suited(body: ContainerBody, flavour: Flavour, log_cap: int) -> ContainerBody:
    """A container's options for this engine. Podman has no `local` log. A rootless Podman must keep
    the login's id, because otherwise no user in the container owns the login's files. A rootless
    engine may not raise a limit."""
    config: HostConfig = {**body["HostConfig"]}
    if flavour.rootless or not flavour.limits:
        config.pop("Ulimits", None)
    if not flavour.podman:
        return {**body, "HostConfig": config}
    # Before a container has run, Podman unpacks files below the volume instead of into it.
    config["Mounts"] = [each for each in config.get("Mounts", ()) if each["Target"] != OWN]
    config["LogConfig"] = {"Type": "k8s-file", "Config": {"max-size": f"{log_cap}b"}}
    if flavour.rootless:
        config["UsernsMode"] = "keep-id"
    # Podman's health checks need timers of systemd, which the login may not have.
    return {**body, "HostConfig": config, "Healthcheck": NO_CHECK}
