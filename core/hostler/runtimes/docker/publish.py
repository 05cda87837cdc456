"""What a container needs to be a service: a port on its host's loopback, and labels that say how
the host asks it whether it is healthy. Pure."""

from __future__ import annotations

import json

from hostler.model.services import Service
from hostler.runtimes.command import service_spec
from hostler.runtimes.docker.body import ContainerBody
from hostler_agent.inspected import PORT, SERVICE


def as_service(body: ContainerBody, service: Service) -> ContainerBody:
    """The same container as a replica of a service. The engine chooses the port, on loopback alone:
    whoever may use the lab's network is not asked who they are."""
    port = f"{service.port}/tcp"
    spec = json.dumps(service_spec(service), separators=(",", ":"))
    others = [each for each in body["Env"] if not each.startswith("HOSTLER_PORT=")]
    return {
        **body,
        "Env": [*others, f"HOSTLER_PORT={service.port}"],
        "Labels": {**body["Labels"], PORT: str(service.port), SERVICE: spec},
        "ExposedPorts": {port: {}},
        "HostConfig": {
            **body["HostConfig"],
            "PortBindings": {port: [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        },
    }
