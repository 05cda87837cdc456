"""A host with an sshd and a Docker of its own, that images are taken from and brought to."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import docker

from hostler.link.agent_link import AgentLink
from hostler.link.agent_start import agent_program
from hostler.runtimes.docker.images.archive import archive_entries
from hostler.runtimes.docker.images.manifest import Blob
from hostler.ssh.connection import Dialler
from hostler.ssh.door import SshDoor
from tests.support.machines.dockerd import Dockerd
from tests.support.machines.sshd import Home, Sshd, target
from tests.support.values.images import MadeImage


def containerd_store(folder: Path) -> Dockerd:
    """A Docker that keeps images in containerd."""
    settings = folder / "daemon.json"
    settings.write_text(json.dumps({"features": {"containerd-snapshotter": True}}))
    return Dockerd("--config-file", str(settings))


def archive_of(image: MadeImage, name: str, layers: Sequence[Blob]) -> bytes:
    """The image as an archive with these layers in it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for entry in archive_entries(image.manifest, image.config, image.config_data, name, layers):
            info = tarfile.TarInfo(entry.name)
            data = entry.data if entry.digest is None else image.blobs[entry.digest]
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def load_made(engine: Dockerd, image: MadeImage, name: str) -> None:
    """Load an image by hand, as `docker load` does."""
    made = archive_of(image, name, image.manifest.layers)
    client = docker.APIClient(base_url=engine.url, version="auto")
    try:
        for line in client.load_image(made):
            assert "error" not in line, line
    finally:
        client.close()


@asynccontextmanager
async def image_host(
    name: str, server: Sshd, engine: Dockerd, home: Home, port: int | None = None
) -> AsyncIterator[AgentLink]:
    """A connected link to a host that is this sshd and this Docker. `port`: of a relay to it."""
    port = port or server.port
    with home.known_hosts.open("a") as known:
        known.write(f"[127.0.0.1]:{port} {server.public_line}\n")
    where = target(server, name, port=port, docker_socket=str(engine.socket))
    program = agent_program().with_docker(str(engine.socket))
    link = AgentLink(SshDoor(where, Dialler(home.settings())), program, "d" * 32)
    await link.connect()
    try:
        yield link
    finally:
        await link.close()
