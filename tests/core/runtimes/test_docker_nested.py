"""The folder through which a container asks for other runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hostler.runtimes.docker.nested import nested_placed
from hostler.runtimes.docker.options import container_options
from tests.core.runtimes.support import make_job


class Link:
    """A host that makes the folder."""

    host = "gpu1"

    async def call(self, verb: str, payload: Any, timeout: float = 10.0) -> dict[str, Any]:
        assert (verb, set(payload)) == ("nested.open", {"attempt_id"})
        return {"folder": f"/base/nested/{payload['attempt_id']}"}


async def test_it_is_the_only_folder_of_the_agent_that_a_container_sees() -> None:
    job = make_job("true", nested=True)
    before = container_options(job)
    body = await nested_placed(Link(), job, before)  # type: ignore[arg-type]
    (mount,) = [m for m in body["HostConfig"]["Mounts"] if m not in before["HostConfig"]["Mounts"]]
    assert mount["Source"] == f"/base/nested/{job.attempt_id}"
    assert (mount["Target"], mount["ReadOnly"]) == ("/.hostler-nested", False)
    assert "HOSTLER_NESTED=/.hostler-nested" in body["Env"]
    assert container_options(replace(job, nested=False)) == before
