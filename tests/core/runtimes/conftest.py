"""One private dockerd for all tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from hostler.runtimes.docker.runtime import DockerRuntime
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
