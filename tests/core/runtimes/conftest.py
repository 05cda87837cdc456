"""One private dockerd for all tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from hostler.link.agent_link import AgentLink
from hostler.link.agent_start import agent_program
from hostler.runtimes.docker.runtime import DockerRuntime
from hostler.store.content import ContentStore
from tests.support.machines.direct_link import DirectLink
from tests.support.machines.dockerd import Dockerd, why_not
from tests.support.machines.sshfixtures import home, sshd
from tests.support.machines.warm_door import WarmDoor

__all__ = ["dockerd", "home", "sshd"]


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


@pytest_asyncio.fixture(loop_scope="module")
async def stages(content: ContentStore) -> AsyncIterator[DockerRuntime]:
    """The Docker runtime over `content`, for files whose tests share an agent."""
    runtime = DockerRuntime(content.path)
    yield runtime
    await runtime.close()


@pytest.fixture
def content(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(
    tmp_path_factory: pytest.TempPathFactory, dockerd: Dockerd
) -> AsyncIterator[AgentLink]:
    """A connected link to an agent with folders of its own, one for the tests of a file.

    Such a file sets `pytestmark = shares_a_loop`, since the link lives in one event loop.
    """
    mine = tmp_path_factory.mktemp("agent")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOSTLER_FOLDER", str(dockerd.folder / mine.name))
        patch.setenv("HOSTLER_LEASES", str(mine / "leases"))
        patch.setenv("DOCKER_HOST", dockerd.url)
        link = AgentLink(WarmDoor("here", str(dockerd.socket)), agent_program(), "d" * 32)
        await link.connect()
        yield link
        await link.close()
