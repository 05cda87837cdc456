"""The published port and the labels of a container that is a replica of a service; the agent reads
its health check from the labels. Pure."""

from __future__ import annotations

import json

from hostler.model.services import Service
from hostler.runtimes.command import service_spec
from hostler.runtimes.docker.body import ContainerBody
from hostler_agent.inspected import ADDRESS, PORT, SERVICE
from hostler_agent.probed import LOOPBACK


def as_service(body: ContainerBody, service: Service, address: str | None = None) -> ContainerBody:
    """The container's options as a replica of a service. The engine chooses the port. It listens
    only on the loopback, unless the config names an `address`, because users of the lab's network
    are not authenticated."""
    port = f"{service.port}/tcp"
    spec = json.dumps(service_spec(service), separators=(",", ":"))
    where = {ADDRESS: address} if address is not None else {}
    others = [each for each in body["Env"] if not each.startswith("HOSTLER_PORT=")]
    return {
        **body,
        "Env": [*others, f"HOSTLER_PORT={service.port}"],
        "Labels": {**body["Labels"], PORT: str(service.port), SERVICE: spec, **where},
        "ExposedPorts": {port: {}},
        "HostConfig": {
            **body["HostConfig"],
            "PortBindings": {port: [{"HostIp": address or LOOPBACK, "HostPort": ""}]},
        },
    }
