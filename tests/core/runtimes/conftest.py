"""One private dockerd for all tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hostler.link.agent_link import AgentLink
from hostler.link.program import agent_program
from hostler.local.door import LocalDoor
from hostler.runtimes.docker.runtime import DockerRuntime
from hostler.store.content import ContentStore
from tests.support.direct_link import DirectLink
from tests.support.dockerd import Dockerd, why_not


@pytest.fixture(scope="session")
def dockerd() -> Iterator[Dockerd]:
    """A running dockerd with the test image; skips where it cannot run."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    engine = Dockerd()
    try:
        engine.start()
        engine.load_image()
        yield engine
    finally:
        engine.stop()


@pytest.fixture
async def link(dockerd: Dockerd) -> AsyncIterator[DirectLink]:
    """A way to it that can be cut."""
    link = DirectLink(dockerd.socket)
    yield link
    await link.close()


@pytest.fixture
async def runtime(tmp_path: object) -> AsyncIterator[DockerRuntime]:
    """The Docker runtime over a content store that is the test's folder."""
    runtime = DockerRuntime(lambda digest: tmp_path / digest)  # type: ignore[operator]
    yield runtime
    await runtime.close()


@pytest.fixture
def content(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path)


@pytest.fixture
async def agent(
    tmp_path: Path, dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AgentLink]:
    """A connected link to an agent with folders of its own."""
    folder = dockerd.folder / f"agent-{tmp_path.name[-12:]}"
    monkeypatch.setenv("HOSTLER_FOLDER", str(folder))
    monkeypatch.setenv("HOSTLER_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("DOCKER_HOST", dockerd.url)
    link = AgentLink(LocalDoor("here", str(dockerd.socket)), agent_program(), "d" * 32)
    await link.connect()
    yield link
    await link.close()
