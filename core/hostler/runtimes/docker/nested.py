"""Mounts the folder through which a container submits nested runs."""

from __future__ import annotations

from hostler.model.jobs import Job
from hostler.ports import HostLink
from hostler.runtimes.docker.body import ContainerBody, MountEntry
from hostler_agent.nested import VARIABLE

FOLDER = "/.hostler-nested"
"""Its path in a container."""


async def nested_placed(link: HostLink, job: Job, body: ContainerBody) -> ContainerBody:
    """The body with that folder mounted; the folder is made on the host."""
    answer = await link.call("nested.open", {"attempt_id": job.attempt_id})
    mount: MountEntry = {
        "Type": "bind",
        "Source": str(answer["folder"]),
        "Target": FOLDER,
        "ReadOnly": False,
        "BindOptions": {"Propagation": "rprivate"},
    }
    config = body["HostConfig"]
    return {
        **body,
        "Env": [*body["Env"], f"{VARIABLE}={FOLDER}"],
        "HostConfig": {**config, "Mounts": [*config.get("Mounts", ()), mount]},
    }
